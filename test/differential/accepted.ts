/**
 * The differences from Docker Engine that are accepted, each with its reason: the one table of them. docs/COMPATIBILITY.md is made
 * from it. An entry that no comparison needs any more fails the suite.
 */

/** A difference that is as it should be, or not done yet. */
export interface Accepted {
  /** What a user asks for or looks at. */
  what: string;
  docker: string;
  caisson: string;
  /** Why; {@link NOT_YET} for what is to go. */
  reason: string;
  /** On `<subject>/<case>#<step>`; default: everywhere. */
  where?: RegExp;
  /** On the path of the difference. */
  path: RegExp;
}

/** The reason of what is still to be done. */
export const NOT_YET = 'not done yet';

const notYet = (what: string, where: RegExp, path = /./): Accepted => ({
  what,
  docker: 'works',
  caisson: 'differs, or answers 501',
  reason: NOT_YET,
  where,
  path,
});

export const ACCEPTED: Accepted[] = [
  {
    what: 'The `Server` header',
    docker: '`Docker/28.5.2 (linux)`',
    caisson: '`Caisson/<version> (linux)`',
    reason: 'It names the engine.',
    path: /^headers\.server$/,
  },
  notYet('errors: containers that are not there', /^errors\/containers that are not there#/),
  notYet('errors: create bodies that are none', /^errors\/create bodies that are none#/),
  notYet('errors: routes that are none', /^errors\/routes that are none#/),
  notYet('errors: states that do not allow it', /^errors\/states that do not allow it#/),
  notYet('inspect: another image', /^inspect\/another image#/),
  notYet('inspect: by prefix and by name with a slash', /^inspect\/by prefix and by name with a slash#/),
  notYet('inspect: created', /^inspect\/created#/),
  notYet('inspect: exited', /^inspect\/exited#/),
  notYet('inspect: full configuration', /^inspect\/full configuration#/),
  notYet('inspect: no network', /^inspect\/no network#/),
  notYet('inspect: older versions', /^inspect\/older versions#/),
  notYet('inspect: published ports', /^inspect\/published ports#/),
  notYet('inspect: running', /^inspect\/running#/),
  notYet('inspect: size', /^inspect\/size#/),
  notYet('ps: ancestor', /^ps\/ancestor#/),
  notYet('ps: expose and publish', /^ps\/expose and publish#/),
  notYet('ps: filters that are none', /^ps\/filters that are none#/),
  notYet('ps: limits that are none', /^ps\/limits that are none#/),
  notYet('ps: network, health, is-task, isolation, volume', /^ps\/network, health, is-task, isolation, volume#/),
  notYet('ps: row of a created container', /^ps\/row of a created container#/),
  notYet('ps: row of a running container', /^ps\/row of a running container#/),
  notYet('ps: row of an exited container', /^ps\/row of an exited container#/),
  notYet('ps: status, exited, name, id', /^ps\/status, exited, name, id#/),
  notYet('run: commands that are not there', /^run\/commands that are not there#/),
  notYet('run: devices', /^run\/devices#/),
  notYet('run: directory', /^run\/directory#/),
  notYet('run: mounts', /^run\/mounts#/),
  notYet('run: name servers', /^run\/name servers#/),
  notYet('run: options that make no sense', /^run\/options that make no sense#/),
  notYet('run: users', /^run\/users#/),
  notYet('system: auth', /^system\/auth#/),
  notYet('system: events that are past', /^system\/events that are past#/),
  notYet('system: info', /^system\/info#/),
  notYet('system: info in older versions', /^system\/info in older versions#/),
  notYet('system: ping', /^system\/ping#/),
  notYet('system: version', /^system\/version#/),
  notYet('system: versions that are none', /^system\/versions that are none#/),
  notYet('system: versions that are not spoken', /^system\/versions that are not spoken#/),
];
