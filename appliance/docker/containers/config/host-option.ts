/** What the table of options (`host-options.ts`) says of each field of `HostConfig`. */
import type { z } from 'zod';
import type { ContainerSpec } from '../../../../port-layer/index.js';

/**
 * Who carries an option out.
 * Steps of `container-spec.ts` need several options at once, or more than the options. The others read the option from the container's
 * record, when the container is made (`volumes`, `links`) or when it starts and ends (`ports`, `restart policy`).
 */
export type Step = 'resources' | 'privileges' | 'disk size' | 'shared memory' | 'network';
export type Elsewhere = 'links' | 'ports' | 'restart policy' | 'volumes' | 'inspect';

/** What becomes of an option. */
export type Status<T = unknown> =
  /** Carried out. `apply` puts its value into the spec; it is called only where a value was given. */
  | { is: 'works'; apply(spec: ContainerSpec, value: NonNullable<T>): void }
  | { is: 'works'; by: Step | Elsewhere }
  /** Accepted, whatever it says: a virtual machine needs nothing done for it. */
  | { is: 'moot' }
  /** Accepted with a warning and set to `empty`, as Docker does where the kernel has no such thing. */
  | { is: 'discarded'; empty: unknown; warning: string }
  /** 501 when it asks for anything, except for these values. `because`: why a virtual machine cannot have it. */
  | { is: 'refused'; except?: readonly unknown[]; because?: string; by?: Step };

/** What `POST /containers/{id}/update` does with an option; one without this is not among that request's fields. */
export type Update =
  /** The new value replaces the old one; 0 and '' leave it as it is, unless `evenZero`. */
  | { is: 'joined'; evenZero?: true; since?: string }
  /** Refused when it asks for anything. */
  | { is: 'refused'; because?: string; since?: string }
  /** Nothing is changed, whatever it says, but it is checked: Docker does the same. */
  | { is: 'checked'; since?: string }
  /** Changed by the restart supervisor. */
  | { is: 'restart policy'; since?: string };

/** A row of the table. */
export interface HostOption<S extends z.ZodType = z.ZodType> {
  schema: S;
  status: Status<z.infer<S>>;
  /** What `inspect` shows where nothing was asked for; undefined: nothing, the field is left out. */
  shown?: unknown;
  /** Further values that ask for nothing, beside null and ''. */
  nothing?: readonly unknown[];
  /** What `inspect` shows of a value. */
  view?(value: NonNullable<z.infer<S>>): unknown;
  /** Left out by `inspect` when it is an empty list or map (`omitempty` in Go). */
  omitEmpty?: true;
  /** @throws invalid in Docker's words for a value that Docker does not know */
  check?(value: NonNullable<z.infer<S>>): void;
  update?: Update;
  /** The API version that brought it: what older clients send is not heard. */
  since?: string;
  /** The API version that took it away: what newer clients send is not heard. */
  until?: string;
  /** `inspect` shows it from this API version on. */
  shownSince?: string;
}

type Rest<S extends z.ZodType> = Omit<HostOption<S>, 'schema' | 'status'>;

/** An option that is carried out by its own `apply`. */
export const applied = <S extends z.ZodType>(
  schema: S,
  apply: (spec: ContainerSpec, value: NonNullable<z.infer<S>>) => void,
  rest: Rest<S> = {},
): HostOption<S> => ({ schema, status: { is: 'works', apply }, ...rest });

/** An option that is carried out together with others, or outside the spec. */
export const worksBy = <S extends z.ZodType>(schema: S, by: Step | Elsewhere, rest: Rest<S> = {}): HostOption<S> => ({
  schema,
  status: { is: 'works', by },
  ...rest,
});

export const moot = <S extends z.ZodType>(schema: S, rest: Rest<S> = {}): HostOption<S> => ({
  schema,
  status: { is: 'moot' },
  ...rest,
});

export const discarded = <S extends z.ZodType>(
  schema: S,
  empty: unknown,
  warning: string,
  rest: Rest<S> = {},
): HostOption<S> => ({ schema, status: { is: 'discarded', empty, warning }, ...rest });

export const refused = <S extends z.ZodType>(
  schema: S,
  how: { except?: readonly unknown[]; because?: string; by?: Step } = {},
  rest: Rest<S> = {},
): HostOption<S> => ({ schema, status: { is: 'refused', ...how }, ...rest });
