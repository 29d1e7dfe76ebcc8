// Notes the response of a sampled request that goes straight to a model server, for the log of captured requests
// (nginx.conf). A module's variables are a request's own. Must work on njs 0.7 (Debian 12) and on current njs.
import fs from 'fs';

const MAX_BYTES = 6 * 1024 * 1024;  // what SageMaker answers in real time; of a larger response nothing is noted
const LOG = {{ log|js }};
const DROPPED = {{ dropped|js }};  // a byte for each request that is not logged, for control to count
const MAX_LOG_BYTES = {{ max_log_bytes }};  // while control does not move its lines

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
    if (flags.last) {
        const kind = r.variables.response_kind;
        if (kind && !isFull()) {
            const noted = kind === 'JSON' && bytes <= MAX_BYTES;
            if (noted) {
                r.variables.captured_response = parts.length === 1 ? parts[0] : parts.join('');
            }
            r.variables.captured = noted ? 'JSON' : '-';
        }
    }
}

function isFull() {
    try {
        if (fs.statSync(LOG).size < MAX_LOG_BYTES) {
            return false;
        }
        fs.appendFileSync(DROPPED, '.');
        return true;
    } catch (error) {
        return false;  // control has renamed the log, or the disk is full: then nginx cannot log either
    }
}

export default {response};
