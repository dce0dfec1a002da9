/** Checks a create request before anything is made. An option that is not there is refused when it asks for something; none is ignored. */
import type { SyslogGrants } from '../../../../port-layer/config.js';
import type { ExecService } from '../../../../port-layer/index.js';
import { invalid, unsupported } from '../../../../src/common/errors.js';
import { checkHealthConfig } from '../../health/health-check.js';
import { checkLogConfig } from '../../logging/log-options.js';
import { dockerMessage } from '../../words/docker-message.js';
import type { CreateBody } from './create-body.js';
import { type HostConfig, hostOptions } from './host-options.js';
import { checkNetworks, type FindNetwork } from './wanted-networks.js';

/** True for what Go takes for the zero value of any type. */
export function isEmpty(value: unknown): boolean {
  if (value === null || value === undefined || value === '' || value === 0 || value === false) return true;
  return typeof value === 'object' && Object.keys(value).length === 0;
}

/** @throws invalid in Docker's words for what no option can be; unsupported naming an option that is not there */
export function checkHostOptions(
  create: CreateBody,
  syslog?: SyslogGrants,
  findNetwork: FindNetwork = () => undefined,
): void {
  const host = create.HostConfig ?? {};
  for (const [name, { check }] of hostOptions) {
    const value = host[name];
    if (value !== undefined && value !== null) check?.(value);
  }
  for (const [name, { status }] of hostOptions) {
    const value = host[name];
    if (status.is !== 'refused' || isEmpty(value) || status.except?.includes(value) === true) continue;
    const [text, reason] = [typeof value === 'string' ? ` '${value}'` : '', status.because];
    throw unsupported(`HostConfig.${name}${text} is not implemented${reason === undefined ? '' : `: ${reason}`}`);
  }
  checkRestartPolicy(host);
  checkLogConfig(host.LogConfig, syslog);
  checkNetworks(create, findNetwork);
  checkHealthConfig(create.Healthcheck);
}

/** A container whose namespace is asked for has to exist. @throws invalid in Docker's words */
export function checkNamespaceOwners({ HostConfig: host }: CreateBody, exec: Pick<ExecService, 'resolve'>): void {
  for (const mode of [host?.IpcMode ?? '', host?.PidMode ?? '']) {
    const [, owner] = /^container:(.+)$/.exec(mode) ?? [];
    if (owner === undefined) continue;
    try {
      exec.resolve(owner);
    } catch (error) {
      throw invalid(dockerMessage(error));
    }
  }
}

/** @throws invalid in Docker's words */
export function checkRestartPolicy(host: Pick<HostConfig, 'RestartPolicy' | 'AutoRemove'>): void {
  const { Name: name = '', MaximumRetryCount: retries = 0 } = host.RestartPolicy ?? {};
  if (!['', 'no', 'always', 'on-failure', 'unless-stopped'].includes(name))
    throw invalid(
      `invalid restart policy: unknown policy '${name}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'`,
    );
  if (retries !== 0 && name !== 'on-failure')
    throw invalid(
      `invalid restart policy: maximum retry count can only be used with 'on-failure'${retries < 0 ? ' and cannot be negative' : ''}`,
    );
  if (retries < 0) throw invalid('invalid restart policy: maximum retry count cannot be negative');
  if (host.AutoRemove === true && name !== '' && name !== 'no')
    throw invalid("can't create 'AutoRemove' container with restart policy");
}
