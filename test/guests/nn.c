/* wasi-nn: runs the model in the file argv[1] on the numbers behind it, which are its one row of
   input, and prints the row that comes out. ../wit/worlds.wit says what is imported. */
#include "canonical.h"
#include "lists.h"
#include <stdio.h>

#define NN(interface, name) IMPORT("wasi:nn/" interface "@0.2.0-rc-2024-10-28", name)

enum { FP32 = 1, ONNX = 1, CPU = 0 };

typedef struct {
    const void *at;
    size_t length;
} list;

typedef struct {
    list name;
    handle tensor;
} named;

NN("tensor", "[constructor]tensor")
handle tensor_new(const uint32_t *dimensions, size_t rank, int32_t type, const void *data,
                   size_t length);
NN("tensor", "[method]tensor.data") void tensor_data(handle tensor, list *data);
NN("graph", "load")
void graph_load(const list *parts, size_t count, int32_t encoding, int32_t target, result *graph);
NN("graph", "[method]graph.init-execution-context") void graph_init(handle graph, result *context);
NN("inference", "[method]graph-execution-context.compute")
void compute(handle context, const named *inputs, size_t count, result *outputs);
NN("errors", "[method]error.data") void error_data(handle error, list *text);

static void check(const char *what, const result *result) {
    if (!tag(result, 0))
        return;
    list text;
    error_data(word(result, 4), &text);
    fprintf(stderr, "%s: %.*s\n", what, (int)text.length, (const char *)text.at);
    exit(1);
}

/* Called by hand, or else the linker has each export of a command do so, cabi_realloc too, which may
   not look for dirs. */
void __wasm_call_ctors(void);

int main(int argc, char **argv) {
    __wasm_call_ctors();
    static char model[65536];
    FILE *file = fopen(argv[1], "rb");
    if (!file) {
        perror(argv[1]);
        return 1;
    }
    list part = {model, fread(model, 1, sizeof model, file)};
    float row[16];
    uint32_t shape[] = {1, (uint32_t)argc - 2};
    for (int i = 2; i < argc; i++)
        row[i - 2] = strtof(argv[i], NULL);

    result graph, context, outputs;
    graph_load(&part, 1, ONNX, CPU, &graph);
    check("load", &graph);
    graph_init(word(&graph, 4), &context);
    check("init", &context);
    named input = {{"x", 1}, tensor_new(shape, 2, FP32, row, 4 * shape[1])};
    compute(word(&context, 4), &input, 1, &outputs);
    check("compute", &outputs);

    const named *output = (const named *)(intptr_t)word(&outputs, 4);
    list data;
    tensor_data(output->tensor, &data);
    printf("%.*s:", (int)output->name.length, (const char *)output->name.at);
    for (size_t i = 0; i < data.length / 4; i++)
        printf(" %g", ((const float *)data.at)[i]);
    puts("");
    return 0;
}
