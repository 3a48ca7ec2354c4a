// Light or dark: the system's choice, or the one that was made here.
const KEY = 'zeropoint-theme';
const CHOICES = ['system', 'light', 'dark'] as const;
type Choice = (typeof CHOICES)[number];

class Theme {
	choice = $state<Choice>((localStorage.getItem(KEY) as Choice) ?? 'system');
	private systemIsDark = $state(matchMedia('(prefers-color-scheme: dark)').matches);

	constructor() {
		matchMedia('(prefers-color-scheme: dark)').addEventListener('change', (event) => {
			this.systemIsDark = event.matches;
			this.show();
		});
		this.show();
	}

	get isDark(): boolean {
		return this.choice === 'dark' || (this.choice === 'system' && this.systemIsDark);
	}

	next(): void {
		this.choice = CHOICES[(CHOICES.indexOf(this.choice) + 1) % CHOICES.length]!;
		localStorage.setItem(KEY, this.choice);
		this.show();
	}

	private show(): void {
		document.documentElement.dataset.theme = this.isDark ? 'dark' : 'light';
	}
}

export const theme = new Theme();
