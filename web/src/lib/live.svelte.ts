// The indicator of the top strip: what the page's one stream says.
import type { LinkState } from './api/events';
import { age, local } from './format';

class Live {
	state = $state<LinkState | null>(null);
	/** Visited states, for those who watch by machine. */
	history: string[] = [];

	tell = (state: LinkState): void => {
		if (this.history.at(-1) !== state.name) this.history.push(state.name);
		this.state = state;
	};

	clear(): void {
		this.state = null;
		this.history = [];
	}
}

export const live = new Live();

export function words(state: LinkState, now: number): { glyph: string; text: string; tone: string } {
	switch (state.name) {
		case 'connecting':
			return { glyph: '◐', text: 'connecting', tone: 'muted' };
		case 'live':
			return { glyph: '●', text: `live · ${age((now - state.at) / 1000)} ago`, tone: 'accent' };
		case 'reconnecting': {
			const wait = Math.max(0, Math.ceil((state.at - now) / 1000));
			const when = now - state.since > 30_000 ? ` · stale since ${local(state.since)}` : '';
			return {
				glyph: when ? '!' : '◐',
				text: `reconnecting in ${wait} s (try ${state.tries})${when}`,
				tone: 'warn'
			};
		}
		case 'catching':
			return { glyph: '↻', text: `catching up ${state.events} events`, tone: 'warn' };
		case 'ended':
			return { glyph: '■', text: 'ended', tone: 'muted' };
		case 'failed':
			return { glyph: '!', text: `stale since ${local(state.since)}`, tone: 'warn' };
	}
}
