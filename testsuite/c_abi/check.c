// Calls the C interface in every wrong way that it must survive, and from several threads. The artifact's entry takes
// f32[N, 4] and gives `y`, twice that. Says what is wrong and exits with 1, or prints `ok`.

#include "ic.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

static int failures = 0;

static void expect(int holds, const char *what) {
  if (!holds) {
    fprintf(stderr, "failed: %s (last error: %s)\n", what, ic_last_error());
    failures = 1;
  }
}

static void expect_error(int status, const char *part) {
  expect(status == 1, part);
  expect(strstr(ic_last_error(), part) != NULL, part);
}

static const int64_t SHAPE[] = {2, 4};
static const float DATA[8] = {0, 1, 2, 3, 4, 5, 6, 7};

static ic_tensor input(void) {
  ic_tensor tensor = {"x", IC_F32, 2, SHAPE, DATA, sizeof DATA};
  return tensor;
}

static void *run_often(void *model) {
  ic_outputs *outputs = NULL;
  ic_tensor x = input();
  size_t wrong = 0;
  for (int i = 0; i < 50; ++i) {
    wrong += ic_run(model, NULL, &x, 1, &outputs) != 0;
    wrong += ((const float *)outputs->tensors[0].data)[7] != 14;
  }
  // Each thread has an error of its own.
  wrong += strcmp(ic_last_error(), "") != 0;
  ic_free(outputs);
  return (void *)wrong;
}

static void check_errors(ic_model *model) {
  ic_outputs *outputs = NULL;
  ic_tensor x = input();
  expect_error(ic_run(NULL, NULL, &x, 1, &outputs), "model is NULL");
  expect_error(ic_run(model, NULL, NULL, 1, &outputs), "inputs is NULL");
  expect_error(ic_run(model, NULL, &x, 1, NULL), "outputs is NULL");
  expect_error(ic_run(model, "decoder", &x, 1, &outputs), "no entry `decoder`");
  expect_error(ic_run(model, "\xff", &x, 1, &outputs), "not UTF-8");
  expect_error(ic_run(model, NULL, NULL, 0, &outputs), "is missing");
  x.name = "z";
  expect_error(ic_run(model, NULL, &x, 1, &outputs), "no input `z`");
  x = input(), x.dtype = IC_I32;
  expect_error(ic_run(model, NULL, &x, 1, &outputs), "wrong element type");
  x = input(), x.dtype = 99;
  expect_error(ic_run(model, NULL, &x, 1, &outputs), "no element type 99");
  x = input(), x.rank = 1, x.bytes = 8;
  expect_error(ic_run(model, NULL, &x, 1, &outputs), "wrong rank");
  x = input(), x.bytes = 28;
  expect_error(ic_run(model, NULL, &x, 1, &outputs), "28 bytes");
  x = input(), x.data = NULL;
  expect_error(ic_run(model, NULL, &x, 1, &outputs), "data is NULL");
  x = input(), x.shape = NULL;
  expect_error(ic_run(model, NULL, &x, 1, &outputs), "shape is NULL");
  x = input(), x.data = (const char *)DATA + 1;
  expect_error(ic_run(model, NULL, &x, 1, &outputs), "not aligned");
  ic_free(outputs);
}

int main(int argc, char **argv) {
  if (argc < 2) return 1;
  expect(ic_load(NULL, NULL) == NULL && strstr(ic_last_error(), "path is NULL"), "a NULL path");
  expect(ic_load("/no/such.ica", NULL) == NULL && strstr(ic_last_error(), "/no/such.ica"), "a missing file");
  expect(ic_load(argv[0], NULL) == NULL && strstr(ic_last_error(), "not an ic artifact"), "another file");
  ic_options options = {2, "abacus", NULL};
  expect(ic_load(argv[1], &options) == NULL && strstr(ic_last_error(), "abacus"), "unknown kernels");
  expect(ic_describe(NULL) == NULL, "a NULL model");
  ic_free(NULL);

  options.kernels = NULL;
  ic_model *model = ic_load(argv[1], &options);
  if (!model) return fprintf(stderr, "%s\n", ic_last_error()), 1;
  const ic_description *description = ic_describe(model);
  expect(description == ic_describe(model) && description->n_entries == 1, "one entry");
  const ic_entry *entry = &description->entries[0];
  expect(!strcmp(entry->name, "main") && entry->n_inputs == 1 && entry->n_outputs == 1, "one input, one output");
  const ic_port *port = &entry->inputs[0];
  expect(port->dtype == IC_F32 && port->rank == 2 && port->shape[0] == -1 && port->shape[1] == 4, "f32[N, 4]");
  expect(!strcmp(port->name, "x") && !strcmp(port->dims[0], "N") && !strcmp(port->dims[1], "4"), "dims");
  check_errors(model);

  pthread_t threads[3];
  for (int i = 0; i < 3; ++i) pthread_create(&threads[i], NULL, run_often, model);
  for (int i = 0; i < 3; ++i) {
    void *wrong;
    pthread_join(threads[i], &wrong);
    expect(!wrong, "a thread");
  }
  // By position, and outputs that outlive their model.
  ic_tensor x = input();
  x.name = NULL;
  ic_outputs *outputs = NULL;
  expect(ic_run(model, "main", &x, 1, &outputs) == 0 && outputs->len == 1, "by position");
  ic_free(model);
  const ic_tensor *y = &outputs->tensors[0];
  expect(!strcmp(y->name, "y") && y->rank == 2 && y->shape[0] == 2 && y->bytes == 32, "outputs");
  expect(((const float *)y->data)[3] == 6, "elements");
  ic_free(outputs);
  if (!failures) printf("ok\n");
  return failures;
}
