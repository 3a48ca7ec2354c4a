// Numbers for people, in the words of serve/cli/units.py.

const MINUTE = 60;
const HOUR = 3600;

/** E.g. `0.6 s`, `48 s`, `3:41`, `1:02:03`. */
export function duration(seconds: number): string {
	if (seconds < 1) return `${seconds.toFixed(1)} s`;
	const whole = Math.round(seconds);
	if (whole < MINUTE) return `${whole} s`;
	const hours = Math.floor(whole / HOUR);
	const minutes = Math.floor(whole / MINUTE) % 60;
	const two = (value: number) => String(value).padStart(2, '0');
	return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

/** The largest whole unit, e.g. `12 s`, `3 min`, `5 h`, `2 d`. */
export function age(seconds: number): string {
	for (const [unit, length] of [
		['d', 24 * HOUR],
		['h', HOUR],
		['min', MINUTE]
	] as const) {
		if (seconds >= length) return `${Math.floor(seconds / length)} ${unit}`;
	}
	return `${Math.max(0, Math.floor(seconds))} s`;
}

/** Bytes in decimal units: `481 MB`, `41.2 MB`. */
export function size(bytes: number): string {
	for (const [unit, factor] of [
		['TB', 1e12],
		['GB', 1e9],
		['MB', 1e6],
		['kB', 1e3]
	] as const) {
		if (bytes >= factor) {
			const value = bytes / factor;
			return `${value >= 100 ? value.toFixed(0) : value.toFixed(1)} ${unit}`;
		}
	}
	return `${bytes} bytes`;
}

/** A share of 1, e.g. `98.71 %`. */
export function percent(share: number | null | undefined, digits = 2): string {
	return share === null || share === undefined ? '' : `${(100 * share).toFixed(digits)} %`;
}

export function count(value: number): string {
	return value.toLocaleString('en-US');
}

/** Up to four significant digits, without an exponent where that reads well. */
export function measure(value: number | null | undefined): string {
	if (value === null || value === undefined) return '';
	const magnitude = Math.abs(value);
	if (magnitude !== 0 && (magnitude < 1e-3 || magnitude >= 1e7)) return value.toExponential(2);
	if (magnitude >= 1000) return Math.round(value).toLocaleString('en-US');
	return value.toFixed(magnitude >= 100 ? 1 : magnitude >= 1 ? 3 : 4);
}

/** Local time of day, or day and time where it was not today. */
export function local(moment: string | number): string {
	const date = new Date(moment);
	const time = date.toLocaleTimeString([], { hour12: false });
	if (date.toDateString() === new Date().toDateString()) return time;
	return `${date.toLocaleDateString('sv')} ${time}`;
}

export function short(digest: string): string {
	return digest.slice(0, 8);
}

export function plural(n: number, one: string, many = `${one}s`): string {
	return `${count(n)} ${n === 1 ? one : many}`;
}
