/** The network `none`, to which containers without a network belong. */
import { sha256 } from '../../../src/common/ids.js';

/** @param vch whose `none` it is */
export const noneId = (vch: { id: string }): string => sha256(`network ${vch.id} none`);
