// How states look: a sign and a word, in the words and signs of serve/cli/glyphs.py.
// Green is kept for what was verified.

export interface Look {
	glyph: string;
	word: string;
	tone: 'plain' | 'accent' | 'pass' | 'fail' | 'warn' | 'muted';
}

const RUNS: Record<string, Look> = {
	queued: { glyph: '○', word: 'queued', tone: 'muted' },
	running: { glyph: '●', word: 'running', tone: 'accent' },
	interrupted: { glyph: '!', word: 'interrupted', tone: 'warn' },
	succeeded: { glyph: '✓', word: 'succeeded', tone: 'plain' },
	failed: { glyph: '✗', word: 'failed', tone: 'fail' },
	cancelled: { glyph: '–', word: 'cancelled', tone: 'muted' }
};

const CHECKS: Record<string, Look> = {
	pending: { glyph: '○', word: 'not yet', tone: 'muted' },
	running: { glyph: '●', word: 'running', tone: 'accent' },
	passed: { glyph: '✓', word: 'passed', tone: 'pass' },
	failed: { glyph: '✗', word: 'failed', tone: 'fail' },
	not_checked: { glyph: '–', word: 'not checked', tone: 'muted' },
	'no data': { glyph: '–', word: 'no data', tone: 'muted' }
};

export const RUN_STATES = Object.keys(RUNS);
export const RESUMABLE = ['interrupted', 'failed'];
export const CANCELLABLE = ['queued', 'running', 'interrupted'];

export function ofRun(state: string): Look {
	return RUNS[state] ?? { glyph: '?', word: state, tone: 'muted' };
}

export function ofCheck(state: string): Look {
	return CHECKS[state] ?? { glyph: '?', word: state, tone: 'muted' };
}

const PROPOSALS: Record<string, Look> = {
	pending: { glyph: '○', word: 'pending', tone: 'muted' },
	under_review: { glyph: '●', word: 'under review', tone: 'accent' },
	accepted: { glyph: '✓', word: 'accepted', tone: 'plain' },
	rejected: { glyph: '✗', word: 'rejected', tone: 'fail' }
};

export const PROPOSAL_STATES = Object.keys(PROPOSALS);

export function ofProposal(state: string): Look {
	return PROPOSALS[state] ?? { glyph: '?', word: state, tone: 'muted' };
}
