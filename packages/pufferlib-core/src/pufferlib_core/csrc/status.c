#include "puffer/status.h"

const char *puf_status_text(int status) {
    switch (status) {
        case PUF_OK: return "done";
        case PUF_EINVAL: return "an argument is not legal";
        case PUF_ENOMEM: return "the memory given is too small";
        case PUF_EABI: return "the table was compiled against other headers";
        case PUF_ENONFINITE: return "a number is NaN or infinite";
        case PUF_ETHREAD: return "the system refused to start a thread";
        case PUF_EMASK: return "an action mask allows nothing";
        default: return status > 0 ? "done" : "unknown status";
    }
}
