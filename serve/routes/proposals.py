"""Proposals: submit, list, look, vote. Accepted only if an AI review and a person pass them."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from cluster.asking import answer
from governance.approvals import PROPOSAL_ID
from governance.proposals.consensus import State
from governance.proposals.schema import ChangeType, Draft
from serve import proposal_schemas as schemas
from serve.context import Asker, InContext
from serve.paging import Offset, PageLimit, next_offset
from serve.routes.training import Key

router = APIRouter(prefix="/api/proposals", tags=["proposals"])

ProposalId = Annotated[str, Path(pattern=PROPOSAL_ID, description="`prop-` and a ULID.")]
Text = Annotated[str | None, Query(min_length=1, max_length=64, pattern=r"^[ -~]+$")]


@router.post("")
async def propose(
    context: InContext, who: Asker, draft: Draft, key: Key = None
) -> schemas.ProposalView:
    """Take in a proposal.

    Digests of data and model, and the measures of the runs that it cites, are filled in by the
    service; `from_run` takes the training data from a finished run, too.
    """
    view = await answer(context.manager.propose.remote(draft, who, key))
    return schemas.ProposalView.model_validate(view)


@router.get("")
async def list_proposals(  # noqa: PLR0913 - one parameter for each filter
    context: InContext,
    *,
    state: Annotated[State | None, Query(description="Only proposals in it.")] = None,
    author: Text = None,
    change_type: ChangeType | None = None,
    dataset: Text = None,
    offset: Offset = 0,
    limit: PageLimit = 20,
) -> schemas.ProposalPage:
    """List proposals, newest first."""
    wanted = {
        "state": state, "author": author, "change_type": change_type, "dataset": dataset,
    }  # fmt: skip
    page = await answer(context.manager.proposal_page.remote(wanted, offset, limit))
    following = next_offset(offset, len(page["proposals"]), total=page["total"])
    return schemas.ProposalPage.model_validate({**page, "next_offset": following})


@router.get("/stats")
async def proposal_stats(context: InContext) -> schemas.ProposalStats:
    """Return counts by state, kind and vote, the phase, and what the last recovery found."""
    return schemas.ProposalStats.model_validate(
        await answer(context.manager.proposal_stats.remote())
    )


@router.get("/{proposal_id}")
async def get_proposal(context: InContext, proposal_id: ProposalId) -> schemas.ProposalView:
    """Return one proposal with its votes, and once it is accepted what it allows."""
    view = await answer(context.manager.proposal.remote(proposal_id))
    return schemas.ProposalView.model_validate(view)


@router.post("/{proposal_id}/consensus")
async def vote(
    context: InContext, who: Asker, proposal_id: ProposalId, given: schemas.NewVote
) -> schemas.ProposalView:
    """Record a vote, signed and logged; 409 where the proposal's state does not allow it.

    The human vote needs a person who is a reviewer and not the author.
    """
    view = await answer(
        context.manager.vote.remote(proposal_id, given.model_dump(mode="json"), who)
    )
    return schemas.ProposalView.model_validate(view)


@router.post("/{proposal_id}/validate")
async def validate(context: InContext, who: Asker, proposal_id: ProposalId) -> schemas.ProposalView:
    """Have the built-in reviewer look at a proposal and record the AI vote; it takes a while.

    It verifies the cited evidence, does a window again, and asks the data policy; 503 where it
    cannot tell, and then there is no vote.
    """
    view = await answer(context.manager.validate.remote(proposal_id, who))
    return schemas.ProposalView.model_validate(view)
