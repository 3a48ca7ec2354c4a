// Roots of RFC 6962 trees from proofs, computed here so that the page need not take the service's word.
// Source: RFC 9162 §2.1.3.2 (inclusion) and §2.1.4.2 (consistency).

type Bytes = Uint8Array<ArrayBuffer>;

export function decode(text: string): Bytes {
	return Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
}

export function encode(bytes: Bytes): string {
	return btoa(String.fromCharCode(...bytes));
}

export function sameBytes(one: string, other: string): boolean {
	return one === other;
}

async function node(left: Bytes, right: Bytes): Promise<Bytes> {
	const data = new Uint8Array(1 + left.length + right.length);
	data[0] = 1;
	data.set(left, 1);
	data.set(right, 1 + left.length);
	return new Uint8Array(await crypto.subtle.digest('SHA-256', data));
}

/** Return the root that follows from a leaf and its proof. */
export async function inclusionRoot(proof: { index: number; size: number; leaf: string; hashes: string[] }): Promise<string> {
	let fn = proof.index;
	let sn = proof.size - 1;
	let root = decode(proof.leaf);
	for (const text of proof.hashes) {
		const hash = decode(text);
		if (fn % 2 === 1 || fn === sn) {
			root = await node(hash, root);
			while (fn % 2 === 0 && fn !== 0) {
				fn = Math.floor(fn / 2);
				sn = Math.floor(sn / 2);
			}
		} else root = await node(root, hash);
		fn = Math.floor(fn / 2);
		sn = Math.floor(sn / 2);
	}
	if (sn !== 0) throw new Error('the proof is too short');
	return encode(root);
}

/** Return the roots of both sizes that follow from a proof. */
export async function consistencyRoot(proof: { old_size: number; size: number; old_root: string; root: string; hashes: string[] }): Promise<[string, string]> {
	if (proof.old_size === proof.size) return [proof.old_root, proof.root];
	const hashes = proof.hashes.map(decode);
	if ((proof.old_size & (proof.old_size - 1)) === 0) hashes.unshift(decode(proof.old_root));
	let fn = proof.old_size - 1;
	let sn = proof.size - 1;
	while (fn % 2 === 1) {
		fn = Math.floor(fn / 2);
		sn = Math.floor(sn / 2);
	}
	const first = hashes.shift();
	if (!first) throw new Error('the proof is empty');
	let [before, now] = [first, first];
	for (const hash of hashes) {
		if (sn === 0) throw new Error('the proof is too long');
		if (fn % 2 === 1 || fn === sn) {
			before = await node(hash, before);
			now = await node(hash, now);
			while (fn % 2 === 0 && fn !== 0) {
				fn = Math.floor(fn / 2);
				sn = Math.floor(sn / 2);
			}
		} else now = await node(now, hash);
		fn = Math.floor(fn / 2);
		sn = Math.floor(sn / 2);
	}
	if (sn !== 0) throw new Error('the proof is too short');
	return [encode(before), encode(now)];
}
