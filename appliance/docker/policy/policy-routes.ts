/** Caisson's own routes about policies: below `/caisson/`, with the authentication of the Docker API. */
import type { Router } from 'express';
import { z } from 'zod';
import type { NetworkService } from '../../../port-layer/index.js';
import { forbidden, notFound, unsupported } from '../../../src/common/errors.js';
import { goType } from '../../../src/common/go-json.js';
import { NOT_ENFORCED, readPolicy, TIERS, type Tier } from '../../policy/index.js';
import { readBody } from '../http/body-reader.js';
import { body } from '../http/request.js';
import type { Policies } from './policies.js';
import { type TraceParts, trace } from './trace.js';

const traceSchema = goType(
  'caisson.TraceOptions',
  z.object({ From: z.string(), To: z.string(), Protocol: z.enum(['tcp', 'udp', 'icmp']).nullish() }),
);

/** What the routes need. */
export interface PolicyParts {
  policies: Policies;
  traceParts: TraceParts;
}

/** Adds the routes. */
export function policyRoutes(
  router: Router,
  engine: { policies: PolicyParts | null; network: Pick<NetworkService, 'ownHost'> },
): void {
  const there = (): PolicyParts => {
    if (engine.policies === null) throw unsupported('this endpoint enforces no policies');
    return engine.policies;
  };

  router.get('/caisson/policy', (_request, response) => {
    const { service } = there().policies;
    response.json({
      Active: service.active,
      Tiers: Object.fromEntries(TIERS.map((tier) => [tier, service.text(tier)])),
      Rules: service.rules().map(({ id, direction, action, priority }) => ({
        Rule: id,
        Direction: direction,
        Action: action,
        Priority: priority,
      })),
    });
  });

  router.get('/caisson/policy/counters', async (_request, response) => {
    const rows = await there().policies.counters();
    response.json(
      rows.map(({ rule, action, packets, bytes }) => ({ Rule: rule, Action: action, Packets: packets, Bytes: bytes })),
    );
  });

  router.post('/caisson/policy/reload', async (_request, response) => {
    await there().policies.service.reload();
    response.status(204).end();
  });

  /** What an administrator is about to set. */
  router.post('/caisson/policy/:tier/check', async (request, response) => {
    const text = (await readBody(request)).toString('utf8');
    readPolicy(text, tierOf(request.params.tier));
    // Refused before it is kept: with one that nobody enforces, no container would start.
    if (text.trim() !== '' && !engine.network.ownHost) throw NOT_ENFORCED();
    response.status(204).end();
  });

  router.put('/caisson/policy/:tier', async (request, response) => {
    const tier = tierOf(request.params.tier);
    if (tier !== 'project')
      throw forbidden(`the tier '${tier}' is an administrator's: vic-machine policy set --tier ${tier}`);
    await there().policies.service.setProject((await readBody(request)).toString('utf8'));
    response.status(204).end();
  });

  router.post('/caisson/trace', async (request, response) => {
    const { From, To, Protocol } = await body(request, traceSchema);
    response.json(await trace(there().traceParts, { from: From, to: To, protocol: Protocol ?? 'tcp' }));
  });
}

/** @throws notFound */
function tierOf(text: string): Tier {
  const tier = TIERS.find((one) => one === text);
  if (tier === undefined) throw notFound(`no such tier: ${text} (there are ${TIERS.join(', ')})`);
  return tier;
}
