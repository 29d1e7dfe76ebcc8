// Notes the response of a sampled request that goes straight to a model server, for the log of captured requests
// (nginx.conf). A module's variables are a request's own. Must work on njs 0.7 (Debian 12) and on current njs.
const MAX_BYTES = 6 * 1024 * 1024;  // what SageMaker answers in real time; of a larger response nothing is noted

const parts = [];
let bytes = 0;
let decoder = null;  // from the first piece on whose last character may go on in the next one

function response(r, data, flags) {
    r.sendBuffer(data, flags);
    bytes += data.length;
    if (data.length && bytes <= MAX_BYTES) {
        if (!decoder && data[data.length - 1] < 128) {
            parts.push(data.toString());
        } else {
            decoder = decoder || new TextDecoder();
            parts.push(decoder.decode(data, {stream: true}));
        }
    }
    if (flags.last && r.variables.direct === '1') {
        const type = r.headersOut['Content-Type'] || '';
        const noted = bytes <= MAX_BYTES && type.startsWith('application/json') && !r.headersOut['Content-Encoding'];
        r.variables.captured_response = noted ? parts.join('') : '';
        r.variables.captured = noted ? 'JSON' : '-';
    }
}

export default {response};
