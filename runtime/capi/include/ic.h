// Loads and runs ic artifacts. Link with -lic_capi, or with libic_capi.a -lm -lpthread -ldl.
//
// Written by cbindgen from runtime/capi/src; IC_BLESS=1 cargo test -p ic-capi writes it anew.


#ifndef IC_H
#define IC_H

#include <stddef.h>
#include <stdint.h>

// IEEE 754 binary32.
#define IC_F32 1

// Unsigned 8-bit integer.
#define IC_U8 2

// Signed 8-bit integer.
#define IC_I8 3

// Unsigned 16-bit integer.
#define IC_U16 4

// Signed 16-bit integer.
#define IC_I16 5

// Signed 32-bit integer.
#define IC_I32 6

// Signed 64-bit integer.
#define IC_I64 7

// String; not supported in C.
#define IC_STRING 8

// One byte, 0 or 1.
#define IC_BOOL 9

// IEEE 754 binary16.
#define IC_F16 10

// IEEE 754 binary64.
#define IC_F64 11

// Unsigned 32-bit integer.
#define IC_U32 12

// Unsigned 64-bit integer.
#define IC_U64 13

// Complex number of two binary32.
#define IC_C64 14

// Complex number of two binary64.
#define IC_C128 15

// bfloat16.
#define IC_BF16 16

// 8-bit float, 4 exponent bits, finite.
#define IC_F8E4M3FN 17

// 8-bit float, 4 exponent bits, finite, no negative zero.
#define IC_F8E4M3FNUZ 18

// 8-bit float, 5 exponent bits.
#define IC_F8E5M2 19

// 8-bit float, 5 exponent bits, finite, no negative zero.
#define IC_F8E5M2FNUZ 20

// Unsigned 4-bit integer, one byte each.
#define IC_U4 21

// Signed 4-bit integer, one byte each.
#define IC_I4 22

// 4-bit float, one byte each.
#define IC_F4E2M1 23

// 8-bit exponent-only float.
#define IC_F8E8M0 24

// Unsigned 2-bit integer, one byte each.
#define IC_U2 25

// Signed 2-bit integer, one byte each.
#define IC_I2 26

// Sequence or optional; not supported in C.
#define IC_OBJECT 200

// A loaded model.
typedef struct ic_model ic_model;

// How a model is loaded. All zeros means the defaults.
typedef struct ic_options {
  // Number of threads that a run may use, the caller's included; 0 for one per core.
  size_t threads;
  // Kernels to use: "portable", "avx2", "avx512", "amx" or "neon"; NULL for the fastest of this machine.
  const char *kernels;
  // The artifact's target to use; NULL for the best for this machine.
  const char *target;
} ic_options;

// An input or output.
typedef struct ic_port {
  // Its name.
  const char *name;
  // Element type: IC_F32 and so on.
  uint8_t dtype;
  // Number of axes.
  size_t rank;
  // Extent of each axis; -1 where it depends on the inputs.
  const int64_t *shape;
  // Each extent as text, such as `4 * N`.
  const char *const *dims;
} ic_port;

// A callable entry.
typedef struct ic_entry {
  // Its name.
  const char *name;
  // Number of inputs.
  size_t n_inputs;
  // The inputs.
  const struct ic_port *inputs;
  // Number of outputs.
  size_t n_outputs;
  // The outputs.
  const struct ic_port *outputs;
} ic_entry;

// A model.
typedef struct ic_description {
  // The target whose code runs.
  const char *target;
  // Number of entries.
  size_t n_entries;
  // The entries.
  const struct ic_entry *entries;
} ic_description;

// A dense tensor, row-major.
typedef struct ic_tensor {
  // Its name. NULL for an input that is meant by its position.
  const char *name;
  // Element type: IC_F32 and so on.
  uint8_t dtype;
  // Number of axes.
  size_t rank;
  // Extent of each axis. May be NULL if there are none.
  const int64_t *shape;
  // The elements, aligned to their type. May be NULL if there are none.
  const void *data;
  // Number of bytes of the elements.
  size_t bytes;
} ic_tensor;

// Results of a run, in the entry's order.
typedef struct ic_outputs {
  // What `ic_free` goes by.
  uint64_t kind;
  // Number of results.
  size_t len;
  // The results.
  const struct ic_tensor *tensors;
} ic_outputs;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Loads the artifact in the file `path`, which is in UTF-8. Weights are mapped, not read. Returns NULL on failure;
// `ic_last_error` says why.
//
// # Safety
// `path` ends with a zero byte; `options` is NULL or points to options whose texts are NULL or end with a zero byte.
// An artifact holds machine code: loading one is trusting its author. Nobody may change the file before the model is
// freed.
struct ic_model *ic_load(const char *path,
                         const struct ic_options *options);

// Describes a model. The description belongs to the model and lives as long; it is the same at every call. Returns
// NULL if `model` is NULL.
//
// # Safety
// `model` is NULL or comes from `ic_load` and has not been freed.
const struct ic_description *ic_describe(const struct ic_model *model);

// Runs an entry of a model. Returns 0, or 1 on failure, or 2 on a bug in ic; `ic_last_error` says why.
//
// `entry` is a name, or NULL for `main` or the only one. Inputs are meant by name, or by position where the name is
// NULL. `*outputs` must be NULL or what an earlier run gave: its memory is used again, and what it held is lost. It
// must be freed in the end, also if the run fails and it is not NULL then.
//
// Several threads may run one model at a time, with outputs of their own; runs of a model that has states wait for
// one another.
//
// # Safety
// `model` comes from `ic_load` and has not been freed. `entry` is NULL or ends with a zero byte. `inputs` points to
// `n_inputs` tensors whose pointers are as described there; nobody changes them during the call. `outputs` points to
// a pointer that is NULL or comes from `ic_run`, and that no other thread uses during the call.
int32_t ic_run(const struct ic_model *model,
               const char *entry,
               const struct ic_tensor *inputs,
               size_t n_inputs,
               struct ic_outputs **outputs);

// Frees a model or outputs. Outputs may be freed after their model. Does nothing if `object` is NULL.
//
// # Safety
// `object` is NULL or comes from `ic_load` or `ic_run`, has not been freed, and is not in use by another thread.
void ic_free(void *object);

// The message of the last call that failed on this thread; empty if none did. It stays until the next failure on this
// thread. In UTF-8.
const char *ic_last_error(void);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* IC_H */
