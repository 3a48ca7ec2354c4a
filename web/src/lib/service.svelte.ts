// What the top strip says of the service: asked every few seconds while the page is visible.
import { asProblem, type Health, type Problem } from './api/client';

const EVERY_MS = 5000;

class Service {
	health = $state.raw<Health | null>(null);
	problem = $state.raw<Problem | null>(null);

	get runs(): Record<string, number> | undefined {
		return this.health?.checks.manager?.runs as Record<string, number> | undefined;
	}

	/** Ask now and from time to time; returns how to stop. */
	watch(): () => void {
		void this.ask();
		const timer = setInterval(() => {
			if (!document.hidden) void this.ask();
		}, EVERY_MS);
		return () => clearInterval(timer);
	}

	async ask(): Promise<void> {
		try {
			// healthz answers 200 with the failed checks too; readyz would be an error to the console.
			this.health = (await (await fetch('/api/healthz')).json()) as Health;
			this.problem = null;
		} catch (error) {
			this.health = null;
			this.problem = { ...asProblem(error), title: 'service unreachable' };
		}
	}
}

export const service = new Service();
