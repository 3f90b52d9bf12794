// Wherever aedes' own tests import aedes, they get broker.mjs.
const BROKER = new URL("./broker.mjs", import.meta.url).href;

export async function resolve(specifier, context, next) {
  return specifier.endsWith("/aedes.js") ? { url: BROKER, shortCircuit: true } : next(specifier, context);
}
