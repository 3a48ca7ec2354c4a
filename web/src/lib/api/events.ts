// Server-sent events over fetch: with credentials in headers, over POST too, and with a state that
// can be shown. Format: WHATWG HTML, "Server-sent events".
import { Failure, asProblem, request, type Problem } from './client';

export interface ServerEvent {
	id: string | null;
	kind: string;
	data: string;
}

/** Yield the events of a response as they come. */
export async function* eventsOf(response: Response): AsyncGenerator<ServerEvent> {
	const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
	let rest = '';
	let event: ServerEvent = { id: null, kind: 'message', data: '' };
	try {
		while (true) {
			const { value, done } = await reader.read();
			if (done) return;
			const lines = (rest + value).split('\n');
			rest = lines.pop()!;
			for (const line of lines) {
				if (line === '') {
					if (event.data) yield event;
					event = { id: null, kind: 'message', data: '' };
					continue;
				}
				const colon = line.indexOf(':');
				const field = colon < 0 ? line : line.slice(0, colon);
				const text = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
				if (field === 'data') event.data += event.data ? `\n${text}` : text;
				else if (field === 'event') event.kind = text;
				else if (field === 'id') event.id = text;
			}
		}
	} finally {
		await reader.cancel().catch(() => {});
	}
}

export type LinkState =
	| { name: 'connecting' }
	| { name: 'live'; at: number }
	| { name: 'reconnecting'; tries: number; at: number; since: number }
	| { name: 'catching'; events: number }
	| { name: 'ended' }
	| { name: 'failed'; problem: Problem; since: number };

export interface Follow {
	/** Address with its query, but `after`. */
	path: string;
	after: number;
	take: (event: ServerEvent) => void;
	tell: (state: LinkState) => void;
	signal: AbortSignal;
}

const FIRST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 10_000;
const REFUSALS = [400, 401, 403, 404, 422];

/** Follow a stream until it ends for good, through restarts of the service, without a gap. */
export async function follow({ path, after, take, tell, signal }: Follow): Promise<void> {
	let cursor = after;
	let tries = 0;
	let lastHeard = Date.now();
	tell({ name: 'connecting' });
	while (!signal.aborted) {
		const wasLost = tries > 0;
		try {
			const headers: Record<string, string> = cursor ? { 'last-event-id': String(cursor) } : {};
			const response = await request(path, { headers, signal });
			if (response.status === 204) return tell({ name: 'ended' });
			if (wasLost) tell({ name: 'catching', events: 0 });
			else tell({ name: 'live', at: Date.now() });
			tries = 0;
			let caught = 0;
			for await (const event of eventsOf(response)) {
				lastHeard = Date.now();
				if (event.id !== null) cursor = Number(event.id);
				take(event);
				if (event.kind === 'end') return tell({ name: 'ended' });
				caught += 1;
				tell(
					wasLost && caught < 3 && lagging(event)
						? { name: 'catching', events: caught }
						: { name: 'live', at: lastHeard }
				);
			}
			continue; // the stream's allowance was used: go on behind the last event at once
		} catch (error) {
			if (signal.aborted) return;
			if (error instanceof Failure && REFUSALS.includes(error.problem.status)) {
				return tell({ name: 'failed', problem: asProblem(error), since: lastHeard });
			}
		}
		tries += 1;
		const wait = Math.min(FIRST_WAIT_MS * 2 ** Math.min(tries - 1, 4), LONGEST_WAIT_MS);
		tell({ name: 'reconnecting', tries, at: Date.now() + wait, since: lastHeard });
		await pause(wait, signal);
	}
}

function lagging(event: ServerEvent): boolean {
	const moment = /"timestamp":"([^"]+)"/.exec(event.data)?.[1];
	return moment !== undefined && Date.now() - Date.parse(moment) > 2000;
}

export function pause(ms: number, signal: AbortSignal): Promise<void> {
	return new Promise((resolve) => {
		const timer = setTimeout(resolve, ms);
		signal.addEventListener('abort', () => (clearTimeout(timer), resolve()), { once: true });
	});
}
