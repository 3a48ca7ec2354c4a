// From points to what uPlot draws. No point is left out here: uPlot's line path keeps the lowest and
// the highest value of each pixel column.
import uPlot from 'uplot';

export interface Series {
	label: string;
	x: number[];
	y: (number | null)[];
	/** Which of the run colours, 0 to 4. */
	colour: number;
	dash?: number[];
	/** Draw a mark at each point. */
	marked?: boolean;
	/** Kept faint under a smoothed line. */
	faint?: boolean;
	width?: number;
}

export type XMode = 'step' | 'elapsed' | 'clock';

/** Exponential moving average without the bias of its start (Kingma & Ba 2014, arXiv:1412.6980 §3). */
export function smooth(values: (number | null)[], weight: number): (number | null)[] {
	let mean = 0;
	let correction = 1;
	return values.map((value) => {
		if (value === null) return null;
		mean = weight * mean + (1 - weight) * value;
		correction *= weight;
		return mean / (1 - correction);
	});
}

/** Return the x values of points: steps, seconds since the first, or seconds since 1970. */
export function xOf(points: { step: number[]; at: number[] }, mode: XMode, begun?: number): number[] {
	if (mode === 'step') return points.step;
	const zero = mode === 'clock' ? 0 : (begun ?? points.at[0] ?? 0);
	return points.at.map((at) => (at - zero) / 1000);
}

/** Return columns over one x axis; a value that is not measured there is passed over. */
export function aligned(series: Series[]): uPlot.AlignedData {
	if (series.length === 0) return [[]];
	const first = series[0]!.x;
	if (series.every((one) => one.x === first)) return [first, ...series.map((one) => one.y)];
	const tables = series.map((one) => [one.x, one.y] as uPlot.AlignedData);
	return uPlot.join(tables) as uPlot.AlignedData;
}

/** Return values that a logarithmic axis can show. */
export function positive(values: (number | null)[]): (number | null)[] {
	return values.map((value) => (value !== null && value > 0 ? value : null));
}

/** Return the table of a chart as CSV. */
export function csv(xTitle: string, series: Series[]): string {
	const [x, ...columns] = aligned(series);
	const cell = (value: unknown) => (value === null || value === undefined ? '' : String(value));
	const quoted = (text: string) => `"${text.replaceAll('"', '""')}"`;
	const head = [xTitle, ...series.map((one) => quoted(one.label))].join(',');
	const rows = Array.from(x!, (value, i) => [value, ...columns.map((c) => cell(c![i]))].join(','));
	return [head, ...rows].join('\n') + '\n';
}
