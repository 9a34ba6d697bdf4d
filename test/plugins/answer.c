/* A plugin of WasmEdge with one host function, `wasmedge_answer::answer`, which gives 42. The
   declarations are those of wasmedge/wasmedge.h 0.14, which need not be installed here. */
#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint8_t data[8];
} value_type;
typedef struct {
    unsigned __int128 value;
    value_type type;
} value;
typedef struct {
    uint32_t length;
    const char *bytes;
} text;
typedef struct {
    uint32_t code;
} result;
typedef struct module_descriptor {
    const char *name, *description;
    void *(*create)(const struct module_descriptor *);
} module_descriptor;
typedef struct {
    const char *name, *description;
    uint32_t api_version, version[4], module_count, option_count;
    module_descriptor *modules;
    void *options;
} plugin_descriptor;

value_type WasmEdge_ValTypeGenI32(void);
value WasmEdge_ValueGenI32(int32_t number);
void *WasmEdge_FunctionTypeCreate(const value_type *, uint32_t, const value_type *, uint32_t);
void *WasmEdge_FunctionInstanceCreate(const void *type,
                                      result (*)(void *, const void *, const value *, value *),
                                      void *data, uint64_t cost);
void *WasmEdge_ModuleInstanceCreate(text name);
void WasmEdge_ModuleInstanceAddFunction(void *module, text name, void *function);

static result answer(void *data, const void *frame, const value *parameters, value *returns) {
    (void)data, (void)frame, (void)parameters;
    returns[0] = WasmEdge_ValueGenI32(42);
    return (result){0};
}

static void *create(const module_descriptor *descriptor) {
    (void)descriptor;
    value_type number = WasmEdge_ValTypeGenI32();
    void *type = WasmEdge_FunctionTypeCreate(NULL, 0, &number, 1);
    void *module = WasmEdge_ModuleInstanceCreate((text){15, "wasmedge_answer"});
    WasmEdge_ModuleInstanceAddFunction(module, (text){6, "answer"},
                                       WasmEdge_FunctionInstanceCreate(type, answer, NULL, 0));
    return module;
}

static module_descriptor modules[] = {{"wasmedge_answer", "the answer", create}};
static plugin_descriptor descriptor = {
    "answer", "for a test", 4, {0, 14, 1, 0}, 1, 0, modules, NULL,
};

const plugin_descriptor *WasmEdge_Plugin_GetDescriptor(void) {
    return &descriptor;
}
