// Routes an invocation: straight to a model server when the request certainly needs neither conversion nor user
// code, else to a worker. It only routes; bodies are passed on unchanged and any doubt goes to a worker.
// Must work on njs 0.7 (Debian 12) and on current njs.
import routes from 'routes.js';

const ATTRIBUTES = 'X-Amzn-SageMaker-Custom-Attributes';
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

// Only a worker captures.
function sampled(r) {
    return routes.captures && r.variables.tfsd_sampled === 'yes';
}

// The body is judged by a pattern in nginx.conf, which matches none that lies in a file.
function direct(r) {
    const headers = r.headersIn;
    if (r.method !== 'POST' || !isJson(headers['Content-Type']) || !acceptsJson(headers['Accept'])
            || headers['Content-Encoding'] !== undefined) {
        return null;
    }
    const found = target(headers[ATTRIBUTES]);
    return found !== null && r.variables.one_document === '1' ? found : null;
}

function route(r) {
    let found = null;
    try {
        found = sampled(r) ? null : direct(r);
    } catch (e) {  // njs 0.9 cannot read repeated headers that are not UTF-8; a worker can
    }
    if (found === null) {
        r.internalRedirect('@worker');
        return;
    }
    r.variables.direct_upstream = found.model.upstream;
    r.variables.direct_model = found.model.label;
    r.variables.direct_uri = found.uri;
    r.internalRedirect('@direct');
}

export default {route};
