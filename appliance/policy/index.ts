/** Micro-segmentation: which containers may talk to which, and to which outside names, on which ports. */
export { evaluate, type OrderedRule, type Verdict } from './evaluate.js';
export type { Answer, SavedNames } from './learned-names.js';
export type { Flow, Party, Subject } from './parties.js';
export { NOT_ENFORCED, type PolicyPlaces, PolicyService, policyDigest } from './policy-service.js';
export { MAX_POLICY_BYTES, readPolicy } from './read-policy.js';
export { PRESETS, type Protocol, TIERS, type Tier } from './rules.js';
