// Requests to the service, typed by its OpenAPI document; failures are problem documents.
import type { components } from './schema';

export type Schemas = components['schemas'];
export type RunView = Schemas['RunView'];
export type RunRow = Schemas['RunRow'];
export type RunTable = Schemas['RunTable'];
export type Problem = Schemas['Problem'];
export type Health = Schemas['Health'];

/** What a request failed with: the service's problem document, or why there is none. */
export class Failure extends Error {
	constructor(readonly problem: Problem) {
		super(problem.detail);
	}
	get isUnauthenticated(): boolean {
		return this.problem.status === 401;
	}
}

/** Says who asks. The session module sets it, so that no other module knows how. */
export const credentials: { headers: () => Record<string, string>; lost: () => void } = {
	headers: () => ({}),
	lost: () => {}
};

/** Ask, and return the response if it is a success. */
export async function request(path: string, init: RequestInit = {}): Promise<Response> {
	const headers = { ...credentials.headers(), ...(init.headers as Record<string, string>) };
	let response: Response;
	try {
		response = await fetch(path, { ...init, headers, credentials: 'same-origin' });
	} catch (error) {
		if (init.signal?.aborted) throw error;
		throw new Failure(unreachable(path));
	}
	if (response.ok) return response;
	const failure = new Failure(await problemOf(response, path));
	if (failure.isUnauthenticated) credentials.lost();
	throw failure;
}

export async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
	return (await (await request(path, { signal })).json()) as T;
}

export async function post<T>(path: string, body?: unknown, init: RequestInit = {}): Promise<T> {
	const sent: Record<string, string> =
		body === undefined ? {} : { 'content-type': 'application/json' };
	const headers = { ...sent, ...(init.headers as Record<string, string>) };
	const response = await request(path, {
		...init,
		method: init.method ?? 'POST',
		headers,
		body: body === undefined ? undefined : JSON.stringify(body)
	});
	return (await response.json()) as T;
}

/** Save what a route answers with as a file. */
export async function download(path: string, name: string): Promise<void> {
	const blob = await (await request(path)).blob();
	save(blob, name);
}

export function save(blob: Blob, name: string): void {
	const address = URL.createObjectURL(blob);
	const link = document.createElement('a');
	link.href = address;
	link.download = name;
	link.click();
	setTimeout(() => URL.revokeObjectURL(address), 1000);
}

/** Return anything thrown as a problem document. */
export function asProblem(error: unknown): Problem {
	if (error instanceof Failure) return error.problem;
	return {
		type: 'about:blank',
		title: 'The console failed',
		status: 0,
		detail: error instanceof Error ? error.message : String(error),
		instance: location.pathname,
		code: 'console_error',
		cure: 'reload the page; if it happens again, copy the details into an issue'
	};
}

function unreachable(path: string): Problem {
	return {
		type: 'about:blank',
		title: 'Service unreachable',
		status: 0,
		detail: `cannot reach the service at ${location.origin}`,
		instance: path,
		code: 'unreachable',
		cure: '`make up` starts it, `zpctl doctor` finds what is missing'
	};
}

async function problemOf(response: Response, path: string): Promise<Problem> {
	const kind = response.headers.get('content-type') ?? '';
	if (kind.startsWith('application/problem+json')) return (await response.json()) as Problem;
	return {
		type: 'about:blank',
		title: response.statusText || 'Request failed',
		status: response.status,
		detail: `${path} answered ${response.status} without a problem document`,
		instance: path,
		code: `http_${response.status}`,
		cure: 'the service may be starting: try again in a few seconds'
	};
}
