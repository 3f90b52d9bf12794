// The same call as code to paste. The secret is read from the environment.

import { METHOD, VERSION, queryOf } from './sign.js'

const snake = name => name.replace(/(?!^)([A-Z])/g, '_$1').toLowerCase()
const camel = name => name[0].toLowerCase() + name.slice(1)
const quoted = text => JSON.stringify(String(text))
const shell = text => `'${String(text).replaceAll("'", `'\\''`)}'`

const NUMBERS = new Set(['time-begin', 'time-end', 'time-later', 'page', 'size'])
const isPage = kind => kind === 'page' || kind === 'size'

// call: { operation, values: [{ name, kind, value }], sent, host, protocol, keyId }; a value is a list where its kind is `list`.
function shellScript({ operation, sent, host, protocol, keyId }) {
  return `# needs openssl and curl
: "\${ACCESS_KEY_SECRET:?holds the secret of the access key}"
host=${shell(host)}
query=${shell(queryOf(sent))}
date=$(date -u +%Y-%m-%dT%H:%M:%SZ)
nonce=$(openssl rand -hex 16)
hash=$(printf '' | openssl dgst -sha256 -r | cut -d' ' -f1)
names='host;x-acs-action;x-acs-content-sha256;x-acs-date;x-acs-signature-nonce;x-acs-version'
request=$(printf '%s\\n' POST / "$query" "host:$host" x-acs-action:${operation} "x-acs-content-sha256:$hash" \\
  "x-acs-date:$date" "x-acs-signature-nonce:$nonce" x-acs-version:${VERSION} '' "$names" "$hash")
digest=$(printf '%s' "$request" | openssl dgst -sha256 -r | cut -d' ' -f1)
signature=$(printf '%s\\n%s' ${METHOD} "$digest" | openssl dgst -sha256 -hmac "$ACCESS_KEY_SECRET" -r | cut -d' ' -f1)
curl -sS -X POST "${protocol}://$host/?$query" \\
  -H x-acs-action:${operation} -H "x-acs-content-sha256:$hash" -H "x-acs-date:$date" \\
  -H "x-acs-signature-nonce:$nonce" -H x-acs-version:${VERSION} -H accept:application/json \\
  -H "Authorization: ${METHOD} Credential="${shell(keyId)}",SignedHeaders=$names,Signature=$signature"
`
}

function python({ operation, values, host, protocol, keyId }) {
  const literal = ({ kind, value }) =>
    kind === 'list' ? `[${value.map(quoted).join(', ')}]` : kind === 'boolean' ? (value === 'true' ? 'True' : 'False') : NUMBERS.has(kind) ? value : quoted(value)
  const given = values.map(value => `    ${snake(value.name)}=${literal(value)},\n`).join('')
  return `# pip install alibabacloud_onsmqtt20200420
import os

from alibabacloud_onsmqtt20200420.client import Client
from alibabacloud_onsmqtt20200420.models import ${operation}Request
from alibabacloud_tea_openapi.models import Config

client = Client(Config(
    access_key_id=${quoted(keyId)},
    access_key_secret=os.environ["ACCESS_KEY_SECRET"],
    endpoint=${quoted(host)},
    protocol=${quoted(protocol)},
))
answer = client.${snake(operation)}(${operation}Request(
${given}))
print(answer.body.to_map())
`
}

function java({ operation, values, host, protocol, keyId }) {
  const literal = ({ kind, value }) =>
    kind === 'list' ? `java.util.Arrays.asList(${value.map(quoted).join(', ')})` : kind === 'boolean' ? value : NUMBERS.has(kind) ? (isPage(kind) ? value : `${value}L`) : quoted(value)
  const given = values.map(value => `\n            .set${value.name}(${literal(value)})`).join('')
  return `// Maven: com.aliyun:onsmqtt20200420
import com.aliyun.onsmqtt20200420.Client;
import com.aliyun.onsmqtt20200420.models.*;
import com.aliyun.teaopenapi.models.Config;

public class Main {
    public static void main(String[] args) throws Exception {
        Client client = new Client(new Config()
            .setAccessKeyId(${quoted(keyId)})
            .setAccessKeySecret(System.getenv("ACCESS_KEY_SECRET"))
            .setEndpoint(${quoted(host)})
            .setProtocol(${quoted(protocol)}));
        ${operation}Response answer = client.${camel(operation)}(new ${operation}Request()${given});
        System.out.println(com.aliyun.teautil.Common.toJSONString(answer.getBody()));
    }
}
`
}

function go({ operation, values, host, protocol, keyId }) {
  const literal = ({ kind, value }) =>
    kind === 'list' ? `tea.StringSlice([]string{${value.map(quoted).join(', ')}})` : kind === 'boolean' ? `tea.Bool(${value})` : NUMBERS.has(kind) ? `tea.${isPage(kind) ? 'Int32' : 'Int64'}(${value})` : `tea.String(${quoted(value)})`
  const given = values.map(value => `\t\t${value.name}: ${literal(value)},\n`).join('')
  return `// go get github.com/alibabacloud-go/onsmqtt-20200420/client
package main

import (
	"fmt"
	"os"

	openapi "github.com/alibabacloud-go/darabonba-openapi/client"
	onsmqtt "github.com/alibabacloud-go/onsmqtt-20200420/client"
	"github.com/alibabacloud-go/tea/tea"
)

func main() {
	client, err := onsmqtt.NewClient(&openapi.Config{
		AccessKeyId:     tea.String(${quoted(keyId)}),
		AccessKeySecret: tea.String(os.Getenv("ACCESS_KEY_SECRET")),
		Endpoint:        tea.String(${quoted(host)}),
		Protocol:        tea.String(${quoted(protocol)}),
	})
	if err != nil {
		panic(err)
	}
	answer, err := client.${operation}(&onsmqtt.${operation}Request{
${given}	})
	if err != nil {
		panic(err)
	}
	fmt.Println(answer.Body)
}
`
}

function node({ operation, sent, host, protocol, keyId }) {
  const given = Object.keys(sent).map(name => `    ${quoted(name)}: ${quoted(sent[name])},\n`).join('')
  return `// npm install @alicloud/openapi-client
const OpenApi = require('@alicloud/openapi-client')

const client = new OpenApi.default(new OpenApi.Config({
  accessKeyId: ${quoted(keyId)},
  accessKeySecret: process.env.ACCESS_KEY_SECRET,
  endpoint: ${quoted(host)},
  protocol: ${quoted(protocol)},
}))
const operation = new OpenApi.Params({
  action: ${quoted(operation)}, version: ${quoted(VERSION)}, protocol: ${quoted(protocol.toUpperCase())}, pathname: '/', method: 'POST',
  authType: 'AK', style: 'RPC', reqBodyType: 'formData', bodyType: 'json',
})
const request = new OpenApi.OpenApiRequest({
  query: {
${given}  },
})
client.callApi(operation, request, { toMap: () => ({}) }).then(answer => console.log(JSON.stringify(answer.body)), error => {
  console.error(error.message)
  process.exitCode = 1
})
`
}

export const LANGUAGES = { curl: shellScript, Python: python, Java: java, Go: go, Node: node }
