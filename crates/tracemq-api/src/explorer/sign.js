// Signs a request with ACS3-HMAC-SHA256, as the official SDKs do.

export const METHOD = 'ACS3-HMAC-SHA256'
export const VERSION = '2020-04-20'

const bytes = text => new TextEncoder().encode(text)
const hex = buffer => [...new Uint8Array(buffer)].map(byte => byte.toString(16).padStart(2, '0')).join('')

export async function sha256(text) {
  return hex(await crypto.subtle.digest('SHA-256', bytes(text)))
}

async function hmac(secret, text) {
  const key = await crypto.subtle.importKey('raw', bytes(secret), { name: 'HMAC', hash: 'SHA-256' }, false, ['sign'])
  return hex(await crypto.subtle.sign('HMAC', key, bytes(text)))
}

// RFC 3986: all but letters, digits and - _ . ~
export function encode(text) {
  return encodeURIComponent(text).replace(/[!'()*]/g, sign => '%' + sign.charCodeAt(0).toString(16).toUpperCase())
}

// In the order of the encoded names, which is that of the names: they are plain words.
export function queryOf(parameters) {
  const names = Object.keys(parameters).sort()
  return names.map(name => `${encode(name)}=${encode(parameters[name])}`).join('&')
}

// Everything that there is to know of a signed call: what is sent, and what was signed.
export async function sign({ action, parameters, host, keyId, secret, now = new Date(), nonce = crypto.randomUUID() }) {
  const query = queryOf(parameters)
  const headers = {
    'host': host,
    'x-acs-action': action,
    'x-acs-content-sha256': await sha256(''),
    'x-acs-date': now.toISOString().replace(/\.\d+Z$/, 'Z'),
    'x-acs-signature-nonce': nonce,
    'x-acs-version': VERSION,
  }
  const names = Object.keys(headers).sort()
  const lines = names.map(name => `${name}:${headers[name]}\n`).join('')
  const signedHeaders = names.join(';')
  const canonical = `POST\n/\n${query}\n${lines}\n${signedHeaders}\n${headers['x-acs-content-sha256']}`
  const toSign = `${METHOD}\n${await sha256(canonical)}`
  const signature = await hmac(secret, toSign)
  const authorization = `${METHOD} Credential=${keyId},SignedHeaders=${signedHeaders},Signature=${signature}`
  return { query, headers: { ...headers, authorization }, canonical, toSign }
}
