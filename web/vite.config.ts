import { sveltekit } from '@sveltejs/kit/vite';
import { defineConfig, loadEnv } from 'vite';

const SERVICE = loadEnv('', '.', 'ZEROPOINT').ZEROPOINT_URL ?? 'http://127.0.0.1:8000';

export default defineConfig({
	plugins: [sveltekit()],
	build: { target: 'es2022', reportCompressedSize: false },
	server: {
		// `npx vite dev` against a service on this machine: its guard wants to see itself.
		proxy: {
			'/api': {
				target: SERVICE,
				changeOrigin: true,
				headers: { origin: SERVICE }
			}
		}
	}
});
