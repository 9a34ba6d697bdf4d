/* The canonical ABI as C sees it. Results come in memory, their discriminant first; 0 is `ok` or
   `none` there. */
#include <stddef.h>
#include <stdint.h>

#define IMPORT(module, name) __attribute__((import_module(module), import_name(name)))

typedef int32_t handle;

/* Large enough for every result, and as aligned as any. */
typedef struct {
    _Alignas(8) unsigned char bytes[64];
} result;

static inline int tag(const result *r, int at) { return r->bytes[at]; }
static inline int32_t word(const result *r, int at) { return *(const int32_t *)(r->bytes + at); }
