// One run as the console holds it: its view, all its points, its events; then what comes in.
import { get, type RunView, type Schemas } from './api/client';
import { follow, type LinkState, type ServerEvent } from './api/events';

export type Split = 'train' | 'test';
export const MEASURES = [
	'loss',
	'accuracy',
	'lr',
	'samples_s',
	'memory_bytes',
	'energy_j'
] as const;
export type Measure = (typeof MEASURES)[number];

export interface Points {
	step: number[];
	at: number[];
	values: Record<Measure, (number | null)[]>;
	reasons: Record<string, string>;
}

export interface EventLine {
	seq: number;
	kind: string;
	timestamp: string;
	[field: string]: unknown;
}

export interface CheckpointLine {
	step: number;
	action: string;
	timestamp: string;
	files: Record<string, { bytes: number; sha256: string }>;
	model_digest: string;
	[field: string]: unknown;
}

const REPAINT_MS = 250;
const MOST_EVENTS = 5000;

function noPoints(): Points {
	const values = Object.fromEntries(MEASURES.map((name) => [name, []])) as unknown;
	return { step: [], at: [], values: values as Points['values'], reasons: {} };
}

export class Run {
	view = $state.raw<RunView | null>(null);
	events = $state.raw<EventLine[]>([]);
	checkpoints = $state.raw<CheckpointLine[]>([]);
	/** Grows at each repaint; charts draw when it changes. */
	version = $state(0);
	points: Record<Split, Points> = { train: noPoints(), test: noPoints() };
	private cursor = 0;
	private newest = 0;
	private timer: ReturnType<typeof setTimeout> | null = null;
	private pending: EventLine[] = [];
	private isViewOld = false;

	constructor(readonly runId: string) {}

	get path(): string {
		return `/api/training/runs/${this.runId}`;
	}

	/** Load all that there is. */
	async load(signal?: AbortSignal): Promise<void> {
		const [view] = await Promise.all([
			get<RunView>(this.path, signal),
			this.loadCurves(signal),
			this.loadRest(signal)
		]);
		this.view = view;
		this.version += 1;
	}

	private async loadCurves(signal?: AbortSignal): Promise<void> {
		let isWhole = false;
		while (!isWhole) {
			const path = `${this.path}/curves?after=${this.cursor}`;
			const page = await get<Schemas['CurvePage']>(path, signal);
			for (const split of ['train', 'test'] as const) this.extend(split, page[split]);
			this.cursor = page.next_after;
			this.newest = Math.max(this.newest, this.cursor);
			isWhole = page.is_whole;
			this.version += 1;
		}
	}

	private extend(split: Split, curve: Schemas['Curve']): void {
		const points = this.points[split];
		const columns = curve.columns;
		points.step.push(...(columns.step as number[]));
		points.at.push(...(columns.timestamp as string[]).map((moment) => Date.parse(moment)));
		for (const name of MEASURES) points.values[name].push(...(columns[name] as number[]));
		Object.assign(points.reasons, curve.reasons);
	}

	private async loadRest(signal?: AbortSignal): Promise<void> {
		const [logs, list] = await Promise.all([
			get<Schemas['LogPage']>(`${this.path}/logs`, signal),
			get<Schemas['CheckpointList']>(`${this.path}/checkpoints`, signal)
		]);
		this.events = logs.logs as unknown as EventLine[];
		this.checkpoints = list.checkpoints as unknown as CheckpointLine[];
		this.newest = Math.max(this.newest, logs.next_after);
	}

	/** Follow the run from the last point on; events that are known already are passed over. */
	follow(tell: (state: LinkState) => void, signal: AbortSignal): Promise<void> {
		return follow({
			path: `/api/events/training?run_id=${this.runId}`,
			after: this.cursor,
			take: (event) => this.take(event),
			tell,
			signal
		});
	}

	private take(event: ServerEvent): void {
		const line = JSON.parse(event.data) as EventLine;
		if (event.kind === 'metric') this.takeMetric(line);
		else if (event.kind === 'checkpoint') this.takeCheckpoint(line as unknown as CheckpointLine);
		else if (event.id !== null && !this.events.some((known) => known.seq === line.seq)) {
			this.pending.push(line);
		}
		if (event.kind === 'status' || event.kind === 'end') this.isViewOld = true;
		this.repaintSoon();
	}

	private takeMetric(line: EventLine): void {
		if (line.seq <= this.cursor) return;
		this.cursor = line.seq;
		const points = this.points[line.split as Split];
		points.step.push(line.step as number);
		points.at.push(Date.parse(line.timestamp));
		for (const name of MEASURES) points.values[name].push(line[name] as number | null);
		Object.assign(points.reasons, line.reasons);
	}

	private takeCheckpoint(line: CheckpointLine): void {
		const others = this.checkpoints.filter((one) => one.step !== line.step);
		this.checkpoints = [...others, line].sort((a, b) => a.step - b.step);
	}

	private repaintSoon(): void {
		this.timer ??= setTimeout(() => {
			this.timer = null;
			if (this.pending.length) {
				const all = [...this.events, ...this.pending].sort((a, b) => a.seq - b.seq);
				this.events = all.slice(-MOST_EVENTS);
				this.pending = [];
			}
			this.version += 1;
			if (this.isViewOld) void this.refresh();
		}, REPAINT_MS);
	}

	/** Fetch the view again: the state of a run is the service's to tell. */
	async refresh(): Promise<void> {
		this.isViewOld = false;
		try {
			this.view = await get<RunView>(this.path);
		} catch {
			this.isViewOld = true; // the stream is lost too, and says so
		}
	}

	get step(): number {
		void this.version;
		const steps = this.points.train.step;
		return Math.max(this.view?.step ?? 0, steps.at(-1) ?? 0);
	}

	last(split: Split, measure: Measure): number | null {
		void this.version;
		return this.points[split].values[measure].at(-1) ?? null;
	}

	/** Seconds that the remaining steps take at the present speed; null if not known. */
	get etaS(): number | null {
		void this.version;
		if (this.view?.status !== 'running') return null;
		const { step, at } = this.points.train;
		const from = Math.max(0, step.length - 50);
		if (step.length - from < 2) return null;
		const [first, begun] = [step[from]!, at[from]!];
		const [last, until] = [step.at(-1)!, at.at(-1)!];
		if (last <= first || last >= this.view.steps) return null;
		return ((until - begun) / 1000 / (last - first)) * (this.view.steps - last);
	}
}
