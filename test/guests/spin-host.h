/* Spin's interfaces as C sees them: the canonical ABI of those in ../wit/worlds.wit. Include wasi-http.h before. */

IMPORT("fermyon:spin/variables@2.0.0", "get") void variable_get(const char *, size_t, result *);

#define KEY_VALUE(name) IMPORT("fermyon:spin/key-value@2.0.0", name)
KEY_VALUE("[static]store.open") void store_open(const char *, size_t, result *);
KEY_VALUE("[method]store.get") void store_get(handle, const char *, size_t, result *);
KEY_VALUE("[method]store.set")
void store_set(handle, const char *, size_t, const void *, size_t, result *);
KEY_VALUE("[method]store.get-keys") void store_keys(handle, result *);
KEY_VALUE("[resource-drop]store") void store_drop(handle);

#define ATOMICS(name) IMPORT("wasi:keyvalue/atomics@0.2.0-draft2", name)
IMPORT("wasi:keyvalue/store@0.2.0-draft2", "open") void bucket_open(const char *, size_t, result *);
IMPORT("wasi:keyvalue/store@0.2.0-draft2", "[resource-drop]bucket") void bucket_drop(handle);
ATOMICS("increment") void bucket_increment(handle, const char *, size_t, int64_t, result *);

#define SQLITE(name) IMPORT("fermyon:spin/sqlite@2.0.0", name)
SQLITE("[static]connection.open") void sqlite_open(const char *, size_t, result *);
SQLITE("[method]connection.execute")
void sqlite_execute(handle, const char *, size_t, const void *, size_t, result *);
SQLITE("[resource-drop]connection") void sqlite_drop(handle);

#define REDIS(name) IMPORT("fermyon:spin/redis@2.0.0", name)
REDIS("[static]connection.open") void redis_open(const char *, size_t, result *);
REDIS("[method]connection.incr") void redis_incr(handle, const char *, size_t, result *);
REDIS("[resource-drop]connection") void redis_drop(handle);

IMPORT("fermyon:spin/llm@2.0.0", "infer")
void llm_infer(const char *, size_t, const char *, size_t, int32_t, int32_t, float, int32_t, float,
               int32_t, float, result *);

/* Not there: the call traps. */
IMPORT("fermyon:spin/mqtt@2.0.0", "[static]connection.open")
void mqtt_open(const char *, size_t, const char *, size_t, const char *, size_t, int64_t, result *);

/* A value of SQLite's, of which text is the case 2. */
typedef struct {
    _Alignas(8) uint8_t kind;
    union {
        int64_t integer;
        double real;
        struct {
            const char *start;
            size_t length;
        } text;
    } value;
} sqlite_value;
