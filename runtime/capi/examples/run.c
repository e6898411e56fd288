// Runs the entry `main` of an artifact on inputs that count up from 0, and prints its outputs.
//
//     run ARTIFACT [N]        N stands for every extent that the model leaves open; 1 without it

#include "ic.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t element_size(uint8_t dtype) {
  return dtype == IC_I64 ? sizeof(int64_t) : dtype == IC_F32 || dtype == IC_I32 ? sizeof(int32_t) : 0;
}

// Gives `input` the shape of `port` and counts up in it. Returns 0 if the element type is one that this example knows.
static int fill(ic_tensor *input, const ic_port *port, int64_t open) {
  int64_t *shape = malloc((port->rank + 1) * sizeof *shape);
  size_t len = 1;
  for (size_t axis = 0; axis < port->rank; ++axis) {
    shape[axis] = port->shape[axis] < 0 ? open : port->shape[axis];
    len *= (size_t)shape[axis];
  }
  size_t size = element_size(port->dtype);
  void *data = malloc(len * size + 1);
  for (size_t i = 0; i < len; ++i) {
    if (port->dtype == IC_F32) ((float *)data)[i] = (float)i;
    if (port->dtype == IC_I32) ((int32_t *)data)[i] = (int32_t)i;
    if (port->dtype == IC_I64) ((int64_t *)data)[i] = (int64_t)i;
  }
  ic_tensor filled = {port->name, port->dtype, port->rank, shape, data, len * size};
  *input = filled;
  return size == 0;
}

static void print(const ic_tensor *tensor) {
  printf("%s: dtype %d [", tensor->name, tensor->dtype);
  for (size_t axis = 0; axis < tensor->rank; ++axis) printf(axis ? ", %" PRId64 : "%" PRId64, tensor->shape[axis]);
  printf("]");
  for (size_t i = 0; tensor->dtype == IC_F32 && i < tensor->bytes / sizeof(float) && i < 8; ++i)
    printf(" %g", ((const float *)tensor->data)[i]);
  printf("\n");
}

static int fail(const char *what) {
  fprintf(stderr, "%s: %s\n", what, ic_last_error());
  return 1;
}

int main(int argc, char **argv) {
  if (argc < 2) return fprintf(stderr, "usage: run ARTIFACT [N]\n"), 1;
  int64_t open = argc > 2 ? atoll(argv[2]) : 1;
  ic_options options = {0};
  options.threads = 2;
  ic_model *model = ic_load(argv[1], &options);
  if (!model) return fail("load");
  const ic_description *description = ic_describe(model);
  const ic_entry *entry = &description->entries[0];
  printf("target %s, entry %s\n", description->target, entry->name);

  int status = 0;
  ic_tensor *inputs = calloc(entry->n_inputs + 1, sizeof *inputs);
  for (size_t i = 0; i < entry->n_inputs; ++i) status |= fill(&inputs[i], &entry->inputs[i], open);
  ic_outputs *outputs = NULL;
  // The second run uses the memory of the first.
  for (int i = 0; i < 2 && !status; ++i)
    if (ic_run(model, entry->name, inputs, entry->n_inputs, &outputs)) status = fail("run");
  for (size_t i = 0; !status && i < outputs->len; ++i) print(&outputs->tensors[i]);

  for (size_t i = 0; i < entry->n_inputs; ++i) {
    free((void *)inputs[i].shape);
    free((void *)inputs[i].data);
  }
  free(inputs);
  ic_free(outputs);
  ic_free(model);
  return status;
}
