/** What Docker's answers call the storage driver: containers and images are VMDKs. */
export const STORAGE_DRIVER = 'vmdk';
