/**
 * The language of the differential suite: a case is a list of steps, each a docker CLI script or a raw API call. In every text `@word`
 * is the name of a container of the case (removed at its end), `{word}` is what an earlier call kept, `{now}` the time in
 * seconds since 1970, `{begin}` that at which the case began; `{open}`, `{closed}` and `{refusing}` are registries that the engine can push to
 * (see `registries.ts`).
 */

/** A script for `sh`, with `docker` set up for the engine. Compared: exit code, standard output, standard error. */
export interface ScriptStep {
  script: string;
  /** Not compared, only done: its outcome has to be success. */
  quiet?: boolean;
  /** Lines of the output come in no order that is promised. */
  sorted?: boolean;
}

/** A call of the API. Compared: status, headers that matter, body. */
export interface CallStep {
  method: string;
  /** Below the version. */
  path: string;
  /** Default 1.51; '' for none. */
  version?: string;
  /** A string is sent unchanged, anything else as JSON. */
  body?: unknown;
  /** Instead: what `inspect` showed of the container that an earlier call kept under this word, as tools post it back to `create`. */
  postedBack?: string;
  headers?: Record<string, string>;
  /** Asks for an upgrade to a raw stream, sends this over it, and half-closes it. */
  upgrade?: string;
  /** Its answer has no end: that it has not come is the outcome, after a while. */
  neverEnds?: boolean;
  /** Hangs up so long after the answer's head, and compares what came until then. */
  cutAfterMs?: number;
  /** By name for later steps: a path in the JSON of the answer ('': all of it). */
  keep?: Record<string, string>;
  /** Only these top-level fields of the body (of each element, if it is a list); none: only its form. */
  only?: string[];
  quiet?: boolean;
  /** Elements of the list come in no order that is promised. */
  sorted?: boolean;
}

export type Step = ScriptStep | CallStep;

export interface Case {
  /** Unique in its subject. */
  name: string;
  /** Not played on a machine without IPv6. */
  needsIpv6?: boolean;
  steps: Step[];
}

/** The cases of one file. */
export interface Subject {
  name: string;
  cases: Case[];
}

export const isScript = (step: Step): step is ScriptStep => 'script' in step;

type CallOptions = Omit<CallStep, 'method' | 'path' | 'body'>;

export const sh = (script: string, options: Omit<ScriptStep, 'script'> = {}): ScriptStep => ({ script, ...options });
export const get = (path: string, options: CallOptions = {}): CallStep => ({ method: 'GET', path, ...options });
export const head = (path: string, options: CallOptions = {}): CallStep => ({ method: 'HEAD', path, ...options });
export const del = (path: string, options: CallOptions = {}): CallStep => ({ method: 'DELETE', path, ...options });
export const put = (path: string, body?: unknown, options: CallOptions = {}): CallStep => ({
  method: 'PUT',
  path,
  body,
  ...options,
});
export const post = (path: string, body?: unknown, options: CallOptions = {}): CallStep => ({
  method: 'POST',
  path,
  body,
  ...options,
});

/** Makes a container of the test image; what differs is given. Not compared. */
export const made = (name: string, config: Record<string, unknown> = {}): CallStep =>
  post(`/containers/create?name=@${name}`, { Image: 'dt/busybox', Cmd: ['sleep', '600'], ...config }, { quiet: true });

/** Starts it. Not compared. */
export const started = (name: string): CallStep => post(`/containers/@${name}/start`, undefined, { quiet: true });

/** Waits for its end. Not compared. */
export const ended = (name: string): CallStep => post(`/containers/@${name}/wait`, undefined, { quiet: true });

export const step = {
  /** What a step does, in one line. */
  title(one: Step): string {
    return isScript(one) ? one.script.split('\n')[0]! : `${one.method} ${one.version ?? ''}${one.path}`;
  },
  /** The names of containers that a step speaks of. */
  names(one: Step): string[] {
    const text = isScript(one) ? one.script : `${one.path} ${JSON.stringify(one.body ?? '')}`;
    return [...text.matchAll(CONTAINER)].map((match) => match[1]!);
  },
};

/** A container's name in a text. */
export const CONTAINER = /@(?!sha256)([a-z]\w*)/g;
