/* Status codes. Library functions return them; they never print, abort or exit. */
#ifndef PUFFER_STATUS_H
#define PUFFER_STATUS_H

/* <cdef> */
typedef enum {
    PUF_OK = 0,
    PUF_EINVAL = -1,   /* an argument breaks the documented rule; nothing was written */
    PUF_ENOMEM = -2,   /* the caller's memory is smaller than puf_x_bytes() says */
    PUF_EABI = -3,     /* a table was compiled against another version of these headers */
    PUF_ENONFINITE = -4, /* NaN or infinity where a finite number is required */
    PUF_ETHREAD = -5,  /* the system refused to start a thread */
    PUF_EMASK = -6     /* an action mask allows nothing */
} puf_status;

/* One short English sentence for a status; never NULL. */
const char *puf_status_text(int status);
/* </cdef> */

#endif
