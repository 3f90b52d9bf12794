// The page: a form for each operation, which is signed and run here, with the same call as code.

import { LANGUAGES } from './samples.js'
import { sign } from './sign.js'

const at = id => document.getElementById(id)
const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
const CALL_MS_MAX = 30_000

const operations = await (await fetch(new URL('operations.json', import.meta.url))).json()
let language = 'curl'

const defaults = {
  'region': () => 'cn-hangzhou',
  'instance': () => 'mqtt-local',
  'time-begin': () => Date.now() - DAY_MS,
  'time-end': () => Date.now() + HOUR_MS,
  'time-later': () => Date.now() + HOUR_MS,
  'page': () => 1,
  'size': () => 20,
}

const chosen = () => operations.find(operation => operation.name === at('operation').value)
const inputOf = parameter => at(`parameter-${parameter.name}`)

function inputFor({ name, kind, required, hint }) {
  const label = document.createElement('label')
  label.textContent = required ? name : `${name} (optional)`
  const input = document.createElement(kind === 'list' ? 'textarea' : kind === 'boolean' ? 'select' : 'input')
  if (kind === 'boolean') for (const value of ['', 'true', 'false']) input.add(new Option(value))
  if (kind === 'secret') input.type = 'password'
  if (kind in defaults) input.value = defaults[kind]()
  input.id = `parameter-${name}`
  input.required = required
  input.spellcheck = false
  input.autocomplete = 'off'
  label.append(input)
  if (hint) {
    const words = document.createElement('span')
    words.className = 'hint'
    words.textContent = hint
    label.append(words)
  }
  return label
}

function showOperation() {
  const kept = new Map([...at('parameters').querySelectorAll('input, select, textarea')].map(input => [input.id, input.value]))
  at('does').textContent = chosen().does
  at('parameters').replaceChildren(...chosen().parameters.map(inputFor))
  for (const parameter of chosen().parameters) {
    const input = inputOf(parameter)
    if (kept.has(input.id)) input.value = kept.get(input.id)
  }
  showCode()
}

// What was filled in; a list's values are numbered on the wire: ClientIdList.1, ClientIdList.2.
function filledIn() {
  const values = []
  const sent = {}
  for (const parameter of chosen().parameters) {
    const text = inputOf(parameter).value
    if (text === '') continue
    if (parameter.kind === 'list') {
      const value = text.split('\n').filter(line => line !== '')
      values.push({ ...parameter, value })
      value.forEach((one, number) => { sent[`${parameter.name}.${number + 1}`] = one })
    } else {
      values.push({ ...parameter, value: text })
      sent[parameter.name] = text
    }
  }
  const { host, protocol } = location
  return { operation: chosen().name, values, sent, host, protocol: protocol.replace(':', ''), keyId: at('key-id').value || 'YOUR_KEY_ID' }
}

function showCode() {
  for (const tab of at('languages').children) tab.ariaSelected = String(tab.textContent === language)
  at('code').textContent = LANGUAGES[language](filledIn())
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2)
  } catch {
    return text
  }
}

function told(words, isGood) {
  at('status').textContent = words
  at('status').className = isGood ? 'good' : 'failed'
}

async function run() {
  if (!globalThis.crypto?.subtle) {
    throw new Error('Browsers sign only on pages that come over https, or from this machine: open http://127.0.0.1 there, or turn TLS on.')
  }
  const { operation, sent, host } = filledIn()
  const signed = await sign({ action: operation, parameters: sent, host, keyId: at('key-id').value, secret: at('key-secret').value })
  const { host: _, ...headers } = signed.headers // which the browser sends by itself
  const target = `/?${signed.query}`
  at('request').textContent = `POST ${target}\n${Object.entries(signed.headers).map(([name, value]) => `${name}: ${value}`).join('\n')}`
  at('signed').textContent = `${signed.canonical}\n\n${signed.toSign}`
  const begun = performance.now()
  const signal = AbortSignal.timeout(CALL_MS_MAX)
  const answer = await fetch(target, { method: 'POST', headers: { ...headers, accept: 'application/json' }, credentials: 'omit', signal })
  const text = await answer.text()
  told(`${answer.status}, ${Math.round(performance.now() - begun)} ms, ${text.length} characters`, answer.ok)
  at('answer').textContent = pretty(text)
}

at('form').addEventListener('submit', async event => {
  event.preventDefault()
  at('run').disabled = true
  told('...', true)
  try {
    await run()
  } catch (error) {
    told('not answered', false)
    at('answer').textContent = error.message
  } finally {
    at('run').disabled = false
    showCode()
  }
})
at('form').addEventListener('input', showCode)
at('operation').addEventListener('change', showOperation)
at('copy').addEventListener('click', () => navigator.clipboard.writeText(at('code').textContent))

for (const name of Object.keys(LANGUAGES)) {
  const tab = document.createElement('button')
  tab.type = 'button'
  tab.role = 'tab'
  tab.textContent = name
  tab.addEventListener('click', () => { language = name; showCode() })
  at('languages').append(tab)
}
for (const operation of operations) at('operation').add(new Option(operation.name))
showOperation()
document.body.dataset.ready = 'true'
