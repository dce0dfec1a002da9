/** How a layer's tar is made again from its disk. */
export { RECIPE_VERSION } from './format.js';
export { type RecipeSource, tarFromRecipe } from './tar.js';
export { type RecipeFiles, type RecipeSize, RecipeWriter } from './writer.js';
