// One verification as it goes on: the checks that are to come, then each as the service makes it.
import { Failure, asProblem, request, type Problem } from './api/client';
import { eventsOf } from './api/events';

export interface Check {
	number: number;
	id: string;
	title: string;
	result: 'pending' | 'passed' | 'failed' | 'not_checked';
	detail: string;
	where: string;
	expected: string;
	found: string;
	meaning: string;
	see_too: string;
	count: string;
	seconds: number;
}

export interface Report {
	pack: string;
	run_id: string | null;
	sealed: boolean;
	key_id: string | null;
	verdict: 'passed' | 'failed' | 'cannot_tell';
	summary: string;
	checks: Check[];
	seconds: number;
}

export class Verification {
	checks = $state<Check[]>([]);
	report = $state.raw<Report | null>(null);
	problem = $state.raw<Problem | null>(null);
	isGoing = $state(false);
	endedAt = $state<string | null>(null);
	/** Result rows in the order in which they came: nothing is shown before its event. */
	private abort: AbortController | null = null;

	async ofRun(runId: string): Promise<void> {
		await this.go(`/api/training/runs/${runId}/verify`, { method: 'POST' });
	}

	async ofPack(pack: Blob): Promise<void> {
		const headers = { 'content-type': 'application/zip' };
		await this.go('/api/verify', { method: 'POST', headers, body: pack });
	}

	stop(): void {
		this.abort?.abort();
		this.isGoing = false;
	}

	get done(): number {
		return this.checks.filter((check) => check.result !== 'pending').length;
	}

	private async go(path: string, init: RequestInit): Promise<void> {
		this.stop();
		this.abort = new AbortController();
		const { signal } = this.abort;
		Object.assign(this, { report: null, problem: null, isGoing: true, endedAt: null });
		try {
			this.checks = await known();
			const response = await request(path, { ...init, signal });
			for await (const event of eventsOf(response)) this.take(event.kind, JSON.parse(event.data));
			if (!this.report && !this.problem) {
				throw new Error('the stream ended before the report');
			}
		} catch (error) {
			if (!signal.aborted) this.problem = asProblem(error);
		}
		if (!signal.aborted) this.isGoing = false;
		this.endedAt = new Date().toISOString();
	}

	private take(kind: string, data: unknown): void {
		if (kind === 'problem') this.problem = new Failure(data as Problem).problem;
		else if (kind === 'report') {
			this.report = data as Report;
			this.checks = this.report.checks;
		} else {
			const check = data as Check;
			const place = this.checks.findIndex((one) => one.number === check.number);
			if (place < 0) this.checks = [...this.checks, check];
			else this.checks[place] = check;
		}
	}
}

async function known(): Promise<Check[]> {
	const response = await request('/api/checks');
	return ((await response.json()) as { checks: Check[] }).checks;
}
