// Routes an invocation: straight to a model server when the request certainly needs neither conversion nor user
// code, else to a worker. It only routes; bodies are passed on unchanged and any doubt goes to a worker.
// Must work on njs 0.7 (Debian 12) and on current njs.
import routes from 'routes.js';

const ATTRIBUTES = 'X-Amzn-SageMaker-Custom-Attributes';
// The first key, or the one after signature_name, makes the document native. JSON's blanks are fewer than \s.
const NATIVE_START = /^[ \t\r\n]*\{[ \t\r\n]*(?:"signature_name"[ \t\r\n]*:[ \t\r\n]*"[^"\\]*"[ \t\r\n]*,[ \t\r\n]*)?"(?:instances|inputs|examples)"[ \t\r\n]*:/;
// What follows no bracket within one document, but may within a string, and what may be no UTF-8: njs 0.7 gives
// bodies as bytes. Patterns must be good for bytes and characters; a character above \xff in one makes it match nothing.
const DOUBT = /[}\]][ \t\r\n]*[^ \t\r\n,}\]]|[^\x00-\x7f]/;
// An object with something after it: within an array of the document, or a second document after a comma.
const OBJECTS = /\}[ \t\r\n]*,/;
const MOST_PARSED = 65536;  // parsing costs 10 ms a megabyte
const ATTRIBUTE = /^\s*(tfs-[a-z-]+)\s*=\s*(\S+)\s*$/i;

function isJson(contentType) {
    return contentType === undefined || contentType === 'application/json';
}

function acceptsJson(accept) {
    return accept === 'application/json'
        || (routes.json_by_default && (accept === undefined || accept === '*/*'));
}

// {model, uri} of the model server's REST API, or null for anything that a worker has to judge.
function target(attributes) {
    const asked = {};
    if (attributes) {
        const pairs = attributes.split(',');
        for (let i = 0; i < pairs.length; i++) {
            if (!/tfs-/i.test(pairs[i])) {
                continue;
            }
            const pair = ATTRIBUTE.exec(pairs[i]);
            const key = pair && pair[1].toLowerCase();
            if (!pair || asked[key] !== undefined) {
                return null;
            }
            asked[key] = pair[2];
        }
    }
    const name = asked['tfs-model-name'] || routes.default_model;
    const method = asked['tfs-method'] || 'predict';
    const version = asked['tfs-model-version'];
    const model = routes.models['model ' + name];
    const known = Object.keys(asked).every(
        (key) => key === 'tfs-model-name' || key === 'tfs-method' || key === 'tfs-model-version');
    if (!model || !known || routes.methods.indexOf(method) < 0
            || (version !== undefined && model.versions.indexOf(version) < 0)) {
        return null;
    }
    return {model: model, uri: model.uri + (version === undefined ? '' : '/versions/' + version) + ':' + method};
}

function isOneNativeDocument(body) {
    return NATIVE_START.test(body) && !DOUBT.test(body) && (!OBJECTS.test(body) || parses(body));
}

function parses(body) {
    if (body.length > MOST_PARSED) {
        return false;
    }
    try {
        JSON.parse(body);
        return true;
    } catch (e) {
        return false;
    }
}

function route(r) {
    const headers = r.headersIn;
    if (r.method === 'POST' && isJson(headers['Content-Type']) && acceptsJson(headers['Accept'])
            && headers['Content-Encoding'] === undefined && !r.variables.request_body_file) {
        const found = target(headers[ATTRIBUTES]);
        const body = found ? r.requestText : undefined;
        if (body && isOneNativeDocument(body)) {
            r.variables.direct_upstream = found.model.upstream;
            r.variables.direct_model = found.model.label;
            r.variables.direct_uri = found.uri;
            r.internalRedirect('@direct');
            return;
        }
    }
    r.internalRedirect('@worker');
}

export default {route};
