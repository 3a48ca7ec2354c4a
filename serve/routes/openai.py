"""Text as clients of OpenAI's API ask for it; errors are its error objects (`serve.problems`).

What the bridge cannot do is refused with the parameter's name: more than one choice, images,
tools, log probabilities. Source: OpenAI API reference, completions and chat completions.
"""

from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

import jinja2
import jinja2.sandbox
from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import StreamingResponse

from cluster.petals_actor import ask
from evidence import canonical
from evidence.clock import moment
from evidence.errors import InvalidInput, ServiceError
from serve import problems
from serve.routes.petals import Bridge, of_context, require_begun


class ErrorBody(BaseModel):
    """What is wrong."""

    message: str
    type: str
    param: str | None
    code: str


class OpenAIError(BaseModel):
    """An error object."""

    error: ErrorBody


_ERROR_STATUSES = (400, 401, 403, 404, 405, 409, 413, 415, 422, 429, 500, 501, 503)
_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": OpenAIError, "description": "An error object."} for status in _ERROR_STATUSES
}
_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/json": {}, "text/event-stream": {}}}
}

router = APIRouter(
    prefix="/v1", tags=["openai"], dependencies=[Depends(of_context)], responses=_ERRORS
)

_PAGE = 500
_WAIT_S = 20.0
_DONE = b"data: [DONE]\n\n"

Stop = str | Annotated[list[str], Field(max_length=4)] | None


class Asked(BaseModel):
    """What both kinds of requests share; parameters that would be passed over are refused."""

    model_config = ConfigDict(extra="forbid")

    model: Annotated[str, Field(max_length=64)]
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    """1 if null, as OpenAI's; 0 is greedy."""
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=0, le=2**53 - 1)] | None = None
    stop: Stop = None
    n: Literal[1] | None = None
    stream: bool | None = None
    stream_options: dict[str, bool] | None = None
    user: Annotated[str, Field(max_length=200)] | None = None
    """Taken, and used for nothing."""

    @property
    def wants_usage(self) -> bool:
        """Whether a stream is to end with the count of tokens."""
        return bool((self.stream_options or {}).get("include_usage"))

    def as_request(self, prompt: str, max_tokens: int) -> dict[str, Any]:
        """Return the request to the bridge."""
        stop = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return {
            "prompt": prompt,
            "max_tokens": max_tokens,
            "temperature": 1.0 if self.temperature is None else self.temperature,
            "top_p": self.top_p or 1.0,
            "seed": self.seed or 0,
            "stop": stop,
        }


class CompletionRequest(Asked):
    """A text to continue."""

    prompt: Annotated[str, Field(max_length=1 << 16)] = ""
    max_tokens: Annotated[int, Field(ge=1, le=1 << 20)] | None = None
    """16 if null, as OpenAI's."""


class Message(BaseModel):
    """A turn of a conversation."""

    model_config = ConfigDict(extra="forbid")

    role: Literal["system", "user", "assistant"]
    content: Annotated[str, Field(max_length=1 << 16)]


class ChatRequest(Asked):
    """A conversation to continue."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=1000)]
    max_tokens: Annotated[int, Field(ge=1, le=1 << 20)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, le=1 << 20)] | None = None


@router.get("/models")
async def list_openai_models(bridge: Bridge) -> dict[str, Any]:
    """Return the model that is loaded, if one is."""
    loaded = (await ask(bridge.status.remote()))["model"]
    return {"object": "list", "data": [_model(loaded["name"])] if loaded else []}


@router.post("/completions", response_model=None, responses=_ANSWER)
async def complete(request: Request, bridge: Bridge, asked: CompletionRequest) -> Response:
    """Continue a text, as OpenAI's completions do."""
    wanted = asked.as_request(asked.prompt, asked.max_tokens or 16)
    shape = _Completion(asked.model)
    return await _answered(request, bridge, asked, wanted, shape)


@router.post("/chat/completions", response_model=None, responses=_ANSWER)
async def chat(request: Request, bridge: Bridge, asked: ChatRequest) -> Response:
    """Continue a conversation; 400 for a model without a chat template."""
    status = await ask(bridge.status.remote())
    loaded = status["model"] or {}
    template = loaded.get("chat_template") if loaded.get("name") == asked.model else None
    if template is None:
        raise InvalidInput(
            f"model: {asked.model!r} has no chat template",
            field="model",
            cure="use /v1/completions",
        )
    prompt = render(template, [message.model_dump() for message in asked.messages])
    most = asked.max_completion_tokens or asked.max_tokens or loaded["context"]
    wanted = asked.as_request(prompt, most)
    return await _answered(request, bridge, asked, wanted, _Chat(asked.model))


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "zeropoint"}


def render(template: str, messages: list[dict[str, str]]) -> str:
    """Return the prompt of a conversation.

    Raises:
        InvalidInput: The template does not take these messages.
    """
    try:
        environment = jinja2.sandbox.ImmutableSandboxedEnvironment(autoescape=False)
        return environment.from_string(template).render(
            messages=messages, add_generation_prompt=True
        )
    except jinja2.TemplateError as error:
        raise InvalidInput(f"messages: the chat template refuses: {error}", field="messages") from (
            error
        )


class _Completion:
    """How a completion is written."""

    prefix, whole, piece = "cmpl", "text_completion", "text_completion"

    def __init__(self, model: str) -> None:
        self.model = model

    def choice(self, text: str, why: str | None) -> dict[str, Any]:
        return {"index": 0, "text": text, "logprobs": None, "finish_reason": why}

    def delta(self, text: str, why: str | None, *, is_first: bool) -> dict[str, Any]:
        assert is_first in {True, False}
        return self.choice(text, why)


class _Chat(_Completion):
    """How an answer of a conversation is written."""

    prefix, whole, piece = "chatcmpl", "chat.completion", "chat.completion.chunk"

    def choice(self, text: str, why: str | None) -> dict[str, Any]:
        message = {"role": "assistant", "content": text, "refusal": None}
        return {"index": 0, "message": message, "logprobs": None, "finish_reason": why}

    def delta(self, text: str, why: str | None, *, is_first: bool) -> dict[str, Any]:
        delta = {"role": "assistant", "content": text} if is_first else {"content": text}
        return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": why}


async def _answered(
    request: Request, bridge: Any, asked: Asked, wanted: dict[str, Any], shape: _Completion
) -> Response:
    generation_id = await ask(bridge.generate.remote(wanted, asked.model))
    await require_begun(bridge, generation_id)
    records = _records(bridge, generation_id)
    if asked.stream:
        frames = _frames(records, shape, request.url.path, wants_usage=asked.wants_usage)
        return StreamingResponse(frames, media_type="text/event-stream")
    return await _whole(records, shape, request.url.path)


async def _records(bridge: Any, generation_id: str) -> AsyncIterator[dict[str, Any]]:
    """Yield the records of a generation to its end."""
    after = 0
    while True:
        lines = await ask(bridge.generation_lines.remote(generation_id, after, _PAGE, _WAIT_S))
        for line in lines:
            record = canonical.decode_object(line)
            after = int(record["seq"])
            yield record
            if record["kind"] == "end":
                return


async def _whole(records: AsyncIterator[dict[str, Any]], shape: _Completion, path: str) -> Response:
    first: dict[str, Any] = {}
    async for record in records:
        first = first or record
        if record["kind"] == "error":
            return problems.response(_problem(record, path))
        if record["kind"] == "end":
            usage = record["usage"] | {"total_tokens": sum(record["usage"].values())}
            choice = shape.choice(record["text"], record["finish_reason"])
            body = {**_head(first, shape, shape.whole), "choices": [choice], "usage": usage}
            return JSONResponse(body)
    raise ServiceError("a generation has no end")


async def _frames(
    records: AsyncIterator[dict[str, Any]], shape: _Completion, path: str, *, wants_usage: bool
) -> AsyncIterator[bytes]:
    head: dict[str, Any] = {}
    is_first = True
    async for record in records:
        head = head or _head(record, shape, shape.piece)
        kind = record["kind"]
        if kind == "token" and record["text"]:
            yield _frame(
                {**head, "choices": [shape.delta(record["text"], None, is_first=is_first)]}
            )
            is_first = False
        elif kind == "error":
            yield _frame(problems.as_openai(_problem(record, path)))
            return
        elif kind == "end":
            last = shape.delta(record["rest"], record["finish_reason"], is_first=is_first)
            yield _frame({**head, "choices": [last]})
            if wants_usage:
                usage = record["usage"] | {"total_tokens": sum(record["usage"].values())}
                yield _frame({**head, "choices": [], "usage": usage})
    yield _DONE


def _head(first: dict[str, Any], shape: _Completion, kind: str) -> dict[str, Any]:
    return {
        "id": f"{shape.prefix}-{first['generation_id']}",
        "object": kind,
        "created": int(moment(first["timestamp"]).timestamp()),
        "model": shape.model,
        "system_fingerprint": first["model_digest"][:16],
    }


def _problem(record: dict[str, Any], path: str) -> dict[str, Any]:
    members = {name: record.get(name) for name in ("field", "expected", "found", "cure")}
    return problems.problem(
        record["code"], title=record["title"], detail=record["detail"], instance=path, **members
    )


def _frame(body: dict[str, Any]) -> bytes:
    return b"data: %s\n\n" % canonical.encode(body)
