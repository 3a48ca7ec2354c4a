import adapter from '@sveltejs/adapter-static';
import { readFileSync } from 'node:fs';

const { version } = JSON.parse(readFileSync(new URL('package.json', import.meta.url), 'utf8'));

/** @type {import('@sveltejs/kit').Config} */
export default {
	kit: {
		// Served by serve/console/site.py, which lists the pages; one bundle, so one round trip.
		adapter: adapter({
			pages: process.env.CONSOLE_TARGET ?? '../serve/console/static',
			fallback: 'index.html'
		}),
		output: { bundleStrategy: 'single' },
		paths: { relative: false },
		// The same sources give the same bytes: Kit would put the time here.
		version: { name: version },
		files: { assets: 'static' }
	}
};
