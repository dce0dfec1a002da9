/** Endpoints for what this engine is not, such as a swarm node. It answers like a Docker Engine that is not one either. */
import type { Router } from 'express';
import { routes } from '../http/endpoint-table.js';

const EXPERIMENTAL =
  'This experimental feature is disabled by default. Start the Docker daemon in experimental mode in order to enable it.';
/** What Docker answers when it is in no swarm. */
export const NO_SWARM =
  'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.';

/** A Docker Engine has these only in experimental mode. */
const CHECKPOINTS = `
GET /containers/:id/checkpoints; POST /containers/:id/checkpoints; DELETE /containers/:id/checkpoints/:checkpoint
`;

/** What only a member of a swarm can do. */
const OF_A_SWARM = `
GET /swarm; POST /swarm/leave; POST /swarm/update; GET /swarm/unlockkey; POST /swarm/unlock
GET /nodes; GET /nodes/:id; DELETE /nodes/:id; POST /nodes/:id/update
GET /services; POST /services/create; GET /services/:id; DELETE /services/:id; POST /services/:id/update; GET /services/:id/logs
GET /tasks; GET /tasks/:id; GET /tasks/:id/logs
GET /secrets; POST /secrets/create; GET /secrets/:id; DELETE /secrets/:id; POST /secrets/:id/update
GET /configs; POST /configs/create; GET /configs/:id; DELETE /configs/:id; POST /configs/:id/update
`;

/** The engine cannot become a member of a swarm. */
const SWARM = 'POST /swarm/init; POST /swarm/join';

function refuse(router: Router, endpoints: string, status: number, message: (endpoint: string) => string): void {
  routes(router, endpoints, (endpoint) => (_, response) => {
    response.status(status).json({ message: message(endpoint) });
  });
}

/** Adds the refusals. */
export function refusedRoutes(router: Router): void {
  refuse(router, CHECKPOINTS, 501, () => EXPERIMENTAL);
  refuse(router, OF_A_SWARM, 503, () => NO_SWARM);
  refuse(router, SWARM, 501, (endpoint) => `${endpoint}: this engine does not take part in swarms`);
}
