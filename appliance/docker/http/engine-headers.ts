/** The headers with which the engine names itself in every answer of a route, except on raw streams. */
import type { Response } from 'express';
import { API_VERSION } from './api-version.js';

export const EXPERIMENTAL = 'Docker-Experimental';
export const ENGINE_HEADERS = ['Api-Version', EXPERIMENTAL, 'Ostype', 'Server'];

/** Sets them. @param server what the engine calls itself */
export function setEngineHeaders(response: Response, server: string): void {
  response.set({ 'Api-Version': API_VERSION, [EXPERIMENTAL]: 'false', Ostype: 'linux', Server: server });
}

/** Takes them off again: Docker's router answers without them where no route matches. */
export function removeEngineHeaders(response: Response): Response {
  for (const name of ENGINE_HEADERS) response.removeHeader(name);
  return response;
}
