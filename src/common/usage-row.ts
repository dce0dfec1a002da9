/** What `GET /caisson/network/usage` answers with, a list of these, and `vic-machine network usage` shows. */

/** Of one address of a running container. */
export interface UsageRow {
  Container: string;
  Name: string;
  Network: string;
  Address: string;
  BytesIn: number;
  BytesOut: number;
  Flows: number;
  /** In each direction; '': as fast as it goes. */
  Rate: string;
}
