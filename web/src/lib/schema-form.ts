// A form from a JSON schema: fields with their bounds and help, and the check of each in place.
export interface JsonSchema {
	type?: string;
	const?: unknown;
	enum?: unknown[];
	default?: unknown;
	description?: string;
	minimum?: number;
	maximum?: number;
	exclusiveMinimum?: number;
	exclusiveMaximum?: number;
	minLength?: number;
	maxLength?: number;
	minItems?: number;
	maxItems?: number;
	pattern?: string;
	items?: JsonSchema;
	anyOf?: JsonSchema[];
	oneOf?: JsonSchema[];
	$ref?: string;
	properties?: Record<string, JsonSchema>;
	required?: string[];
	discriminator?: { propertyName: string; mapping: Record<string, string> };
}
export type Definitions = Record<string, JsonSchema>;
export type Values = Record<string, unknown>;

export interface Field {
	path: string;
	name: string;
	schema: JsonSchema;
	/** Whether null is a value. */
	isNullable: boolean;
	help: string;
}

export function resolve(schema: JsonSchema, definitions: Definitions): JsonSchema {
	if (!schema.$ref) return schema;
	const target = definitions[schema.$ref.split('/').at(-1)!]!;
	return { ...target, ...{ description: schema.description ?? target.description, default: schema.default } };
}

/** Return the fields of an object schema, nested ones by path; of a union, those of the chosen kind. */
export function fieldsOf(schema: JsonSchema, definitions: Definitions, values: Values, prefix = ''): Field[] {
	return Object.entries(schema.properties ?? {}).flatMap(([name, raw]) => {
		const path = prefix ? `${prefix}.${name}` : name;
		let one = resolve(raw, definitions);
		if (one.discriminator) {
			const { propertyName, mapping } = one.discriminator;
			const inner = (values[name] ?? {}) as Values;
			const kinds = Object.keys(mapping);
			const kind = kinds.includes(String(inner[propertyName])) ? String(inner[propertyName]) : kinds[0]!;
			const chosen = resolve({ $ref: mapping[kind] }, definitions);
			const rest = fieldsOf(chosen, definitions, inner, path).filter((field) => field.name !== propertyName);
			const choice: Field = {
				path: `${path}.${propertyName}`,
				name: propertyName,
				schema: { enum: kinds },
				isNullable: false,
				help: chosen.description ?? ''
			};
			return [choice, ...rest];
		}
		if (one.properties) return fieldsOf(one, definitions, (values[name] ?? {}) as Values, path);
		const options = one.anyOf ?? [];
		// A field that is neither required nor has a default is filled in by the service from others.
		const isDerived = raw.default === undefined && !schema.required?.includes(name);
		const isNullable = isDerived || options.some((option) => option.type === 'null');
		const plain = options.find((option) => option.type !== 'null');
		if (plain) one = { ...resolve(plain, definitions), description: one.description, default: one.default };
		return [{ path, name, schema: one, isNullable, help: (one.description ?? '').replace(/\s+/g, ' ') }];
	});
}

export function valueAt(values: Values, path: string): unknown {
	return path.split('.').reduce<unknown>((value, name) => (value as Values | undefined)?.[name], values);
}

/** Return values with one changed. */
export function withValue(values: Values, path: string, value: unknown): Values {
	const [name, ...rest] = path.split('.');
	const inner = rest.length ? withValue((values[name!] ?? {}) as Values, rest.join('.'), value) : value;
	return { ...values, [name!]: inner };
}

/** Read what was typed. */
export function parse(field: Field, text: string): unknown {
	if (text === '' && field.isNullable) return null;
	const { type } = field.schema;
	if (type === 'array') {
		return text.split(/[\s,]+/).filter(Boolean).map((part) => (Number.isNaN(Number(part)) ? part : Number(part)));
	}
	if (type === 'integer' || type === 'number' || typeof field.schema.enum?.[0] === 'number') {
		return text.trim() === '' || Number.isNaN(Number(text)) ? text : Number(text);
	}
	return text;
}

/** Return what is wrong with a value: what was expected and what was found; or nothing. */
export function wrong(field: Field, value: unknown): string {
	const { schema } = field;
	if (value === null || value === undefined) return field.isNullable ? '' : 'a value is needed';
	if (schema.enum) return schema.enum.includes(value) ? '' : `expected one of ${schema.enum.join(', ')}`;
	if (schema.type === 'array') {
		const items = value as unknown[];
		if (items.length < (schema.minItems ?? 0) || items.length > (schema.maxItems ?? Infinity)) {
			return `expected ${schema.minItems ?? 0} to ${schema.maxItems} numbers, found ${items.length}`;
		}
		const inner: Field = { ...field, schema: schema.items ?? {}, isNullable: false };
		return items.map((item) => wrong(inner, item)).find(Boolean) ?? '';
	}
	if (schema.type === 'integer' || schema.type === 'number') return wrongNumber(schema, value);
	if (schema.type === 'string') {
		const text = String(value);
		if (text.length < (schema.minLength ?? 0)) return `expected at least ${schema.minLength} characters`;
		if (text.length > (schema.maxLength ?? Infinity)) return `expected at most ${schema.maxLength} characters`;
		if (schema.pattern && !new RegExp(schema.pattern).test(text)) return `expected ${schema.pattern}, found "${text}"`;
	}
	return '';
}

function wrongNumber(schema: JsonSchema, value: unknown): string {
	if (typeof value !== 'number') return `expected a number, found "${value}"`;
	if (schema.type === 'integer' && !Number.isInteger(value)) return `expected a whole number, found ${value}`;
	if (schema.minimum !== undefined && value < schema.minimum) return `expected at least ${schema.minimum}, found ${value}`;
	if (schema.maximum !== undefined && value > schema.maximum) return `expected at most ${schema.maximum}, found ${value}`;
	if (schema.exclusiveMinimum !== undefined && value <= schema.exclusiveMinimum) return `expected above ${schema.exclusiveMinimum}, found ${value}`;
	if (schema.exclusiveMaximum !== undefined && value >= schema.exclusiveMaximum) return `expected below ${schema.exclusiveMaximum}, found ${value}`;
	return '';
}

/** Return what differs between two objects, nested like them. */
export function changes(base: Values, values: Values): Values {
	const changed: Values = {};
	for (const [name, value] of Object.entries(values)) {
		const before = base[name];
		// Another kind of model replaces the whole of it.
		const isOther = isObject(value) && isObject(before) && value.architecture !== before.architecture;
		if (isOther) changed[name] = value;
		else if (isObject(value) && isObject(before)) {
			const inner = changes(before, value);
			if (Object.keys(inner).length) changed[name] = inner;
		} else if (JSON.stringify(value) !== JSON.stringify(before)) changed[name] = value;
	}
	return changed;
}

function isObject(value: unknown): value is Values {
	return value !== null && typeof value === 'object' && !Array.isArray(value);
}
