// Every key that works, for the list under `?`. No single key cancels, accepts or deletes.
export const KEYS: [string, string][] = [
	['/', 'search runs'],
	['?', 'this list'],
	['g r', 'runs'],
	['g n', 'new run'],
	['g e', 'evidence'],
	['g p', 'proposals'],
	['g s', 'system'],
	['j', 'next row'],
	['k', 'row before'],
	['x', 'tick the row'],
	['Enter', 'open the row'],
	['c', 'compare ticked runs'],
	['v', 'verify this run'],
	['f', 'follow the newest step again'],
	['l', 'events of this run'],
	['s', 'next smoothing'],
	['0', 'show all steps'],
	['[', 'the run made before'],
	[']', 'the run made after'],
	['Esc', 'close']
];
