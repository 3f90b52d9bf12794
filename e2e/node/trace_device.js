// Asks for one device's history through one SDK and one way of signing; prints the answer, or the error, as JSON.
//
// Usage: node trace_device.js pop-core-get|pop-core-post|openapi-v3|openapi-v1 ENDPOINT KEY_ID SECRET < parameters.json

const PopCore = require('@alicloud/pop-core');
const OpenApi = require('@alicloud/openapi-client');

const version = '2020-04-20';
const action = 'QueryMqttTraceDevice';

async function popCore(method, endpoint, accessKeyId, accessKeySecret, parameters) {
  const client = new PopCore({ accessKeyId, accessKeySecret, endpoint: `http://${endpoint}`, apiVersion: version });
  return client.request(action, parameters, { method });
}

async function openApi(signatureAlgorithm, endpoint, accessKeyId, accessKeySecret, parameters) {
  const config = { accessKeyId, accessKeySecret, endpoint, protocol: 'http', signatureAlgorithm };
  const client = new OpenApi.default(new OpenApi.Config(config));
  const operation = { action, version, protocol: 'HTTP', pathname: '/', method: 'POST', authType: 'AK', style: 'RPC' };
  const params = new OpenApi.Params({ ...operation, reqBodyType: 'formData', bodyType: 'json' });
  const query = Object.fromEntries(Object.entries(parameters).map(([name, value]) => [name, String(value)]));
  const runtime = { readTimeout: 3000, connectTimeout: 3000, toMap: () => ({}) };
  return (await client.callApi(params, new OpenApi.OpenApiRequest({ query }), runtime)).body;
}

async function main() {
  const [way, ...who] = process.argv.slice(2);
  const chunks = [];
  for await (const chunk of process.stdin) chunks.push(chunk);
  const parameters = JSON.parse(Buffer.concat(chunks).toString());
  const ways = {
    'pop-core-get': () => popCore('GET', ...who, parameters),
    'pop-core-post': () => popCore('POST', ...who, parameters),
    'openapi-v3': () => openApi(undefined, ...who, parameters),
    'openapi-v1': () => openApi('v2', ...who, parameters),
  };
  try {
    console.log(JSON.stringify({ answer: await ways[way]() }));
  } catch (error) {
    console.log(JSON.stringify({ code: error.code, message: String(error.message) }));
  }
}

main();
