// Who is signed in. A token is exchanged for a cookie that no script can read; what changes something
// carries the session's CSRF token besides.
import { Failure, credentials, get, post, type Schemas } from './api/client';

type SessionView = Schemas['SessionView'];
export type Role = SessionView['role'];

/** From the least to the most. */
const ROLES: Role[] = ['viewer', 'operator', 'reviewer', 'admin'];
/** Whether this browser signed in before; without it, nothing is asked that would be refused. */
const HINT = 'zeropoint-signed-in';

class Session {
	view = $state.raw<SessionView | null>(null);
	isKnown = $state(false);
	/** Whether a session ended that this page had. */
	isLost = $state(false);

	/** Ask whether the session of an earlier visit still lasts. */
	async resume(): Promise<void> {
		try {
			if (localStorage.getItem(HINT)) this.view = await get<SessionView>('/api/session');
		} catch (error) {
			if (!(error instanceof Failure && error.isUnauthenticated)) throw error;
		} finally {
			this.isKnown = true;
		}
	}

	async signIn(token: string): Promise<void> {
		this.view = await post<SessionView>('/api/session', { token: token.trim() });
		this.isLost = false;
		localStorage.setItem(HINT, '1');
	}

	async signOut(): Promise<void> {
		await post('/api/session', undefined, { method: 'DELETE' });
		localStorage.removeItem(HINT);
		this.view = null;
	}

	covers(needed: Role): boolean {
		return this.view !== null && ROLES.indexOf(this.view.role) >= ROLES.indexOf(needed);
	}

	/** Why an action is refused; empty where it is not. */
	why(needed: Role): string {
		if (this.covers(needed)) return '';
		return `Needs role ${needed}; you are ${this.view?.role}. Ask an admin.`;
	}
}

export const session = new Session();
credentials.headers = (): Record<string, string> =>
	session.view?.csrf ? { 'x-csrf-token': session.view.csrf } : {};
credentials.lost = () => {
	if (session.view) session.isLost = true;
	session.view = null;
};
