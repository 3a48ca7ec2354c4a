// The part of the x axis that all charts of a page show, and the step that is pinned.
export class Zoom {
	/** Null shows all, and so follows the newest point. */
	range = $state.raw<[number, number] | null>(null);

	set(from: number, to: number): void {
		if (to > from) this.range = [from, to];
	}
	/** Move what is shown by a part of its width. */
	pan(share: number): void {
		if (!this.range) return;
		const [from, to] = this.range;
		const by = (to - from) * share;
		this.range = [from + by, to + by];
	}
	reset(): void {
		this.range = null;
	}
}
