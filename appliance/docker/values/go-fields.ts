/** The types that fields of Docker's request bodies have most often; all of them may be left out or `null`. */
import { z } from 'zod';
import { goType, int64, strSlice } from '../../../src/common/go-json.js';

export const text = z.string().nullish();
export const texts = z.array(z.string()).nullish();
/** Old clients send a list as a single text. */
export const command = strSlice.nullish();
export const bool = z.boolean().nullish();
/** Bytes, counts, times: no fractions. */
export const whole = int64.nullish();
export const words = z.record(z.string(), z.string()).nullish();

/** A text whose type has a name of its own in Go. */
export const named = (name: string) => goType(name, z.string()).nullish();
