/* Everything a router plugin and the harness agree on. Plain C11, no other include.
 *
 * A router maps hidden states to a *plan* (who computes what, with which weight) and can push the
 * plan's gradient back. The harness owns all else: experts, capacity, memory, streams, seeds.
 *
 * Who fills what  `in` = harness before the call, `out` = plugin during the call.
 * Memory          every pointer is owned by the harness and valid until the call returns, except
 *                 strings and tables reachable from swy_plugin (static for the life of the process)
 *                 and swy_exec.saved (valid from forward until update of the same site and step).
 * Layout          tensors are contiguous and row-major. No bool, enum type, size_t, long or padding.
 *                 Growable structs begin with struct_size and are only ever appended to; 0 or NULL
 *                 means absent; read a field that may be missing through SWY_HAS. Structs that travel
 *                 in arrays are frozen. Every field stands in layout.h too, which a test enforces.
 * Threads         discovery: swy_plugin_v1. Setup: create destroy needs cost. Step: forward backward
 *                 update. Calls on one instance never overlap; calls on two may; no call is tied to a
 *                 thread. Step calls enqueue work and return: no allocation, synchronisation or I/O.
 * Axis letters    T tokens, B sequences, D model width, E experts, C capacity, K experts per token,
 *                 P slots per expert, R rows (see row kind), G groups.
 */
/* clang-format off */
#ifndef SWITCHYARD_ROUTER_H
#define SWITCHYARD_ROUTER_H
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

#define SWY_ABI_MAJOR 1 /* part of the symbol name: swy_plugin_v1. A v2 is a second symbol. */
#define SWY_ABI_MINOR 0 /* +1 per append; informational, struct_size decides */
/* Did the side that allocated `p` know `field`? */
#define SWY_HAS(p, type, field) ((p)->struct_size >= offsetof(type, field) + sizeof((p)->field))

typedef int32_t swy_status; /* every status but SWY_OK comes with a reason in swy_exec.error */
enum { SWY_OK, SWY_INVALID, SWY_UNSUPPORTED, SWY_NO_SPACE, SWY_DEVICE_ERROR, SWY_NUMERIC, SWY_INTERNAL };
enum { SWY_F32, SWY_F16, SWY_BF16, SWY_I32 };              /* dtype */
enum { SWY_CPU = 1, SWY_CUDA = 2 };                        /* device */
enum { SWY_TRAIN, SWY_SCORE, SWY_PREFILL, SWY_DECODE };    /* phase; SCORE = evaluation of whole sequences */
enum { SWY_ASSIGN, SWY_DENSE, SWY_MERGE };                 /* plan kind */
enum { SWY_ROW_TOKEN, SWY_ROW_PREFIX, SWY_ROW_SEQUENCE, SWY_ROW_TASK, SWY_ROW_BATCH }; /* what is routed as one */
enum { SWY_SITE_FFN, SWY_SITE_ATTENTION, SWY_SITE_BLOCK, SWY_SITE_LINEAR, SWY_SITE_MODEL };
enum { SWY_AGG_OUT, SWY_AGG_DELTA, SWY_AGG_AB, SWY_AGG_PROB }; /* what the weights mix: expert outputs, weight
                                                                  deltas, LoRA factors apart, probabilities */
enum { SWY_PARAM, SWY_BUFFER };                            /* tensor role: optimised, or only kept */
enum { SWY_INIT_ZERO, SWY_INIT_CONST, SWY_INIT_NORMAL, SWY_INIT_TRUNC_NORMAL, SWY_INIT_UNIFORM,
       SWY_INIT_ORTHOGONAL };                              /* init_scale: value, std, std, half-width, gain; ORTHOGONAL:
                                                              of rows and columns those that are fewer are orthonormal */
enum { SWY_NO_DECAY = 1, SWY_SHARED = 2 };                 /* tensor flags; SHARED: same name at two sites = one tensor */
enum { SWY_OPT_INT, SWY_OPT_FLOAT, SWY_OPT_BOOL, SWY_OPT_CHOICE }; /* option type; CHOICE: swy_value.s, BOOL: .i */
enum { SWY_IN_RESIDUAL = 1, SWY_IN_TOKEN_ID = 2, SWY_IN_TASK = 4, SWY_IN_TASK_EMBEDDING = 8,
       SWY_IN_INSTRUCTION = 16, SWY_IN_PROMPT = 32,
       SWY_IN_CLUSTER = 64 };                              /* swy_needs.inputs: optional parts of the batch */
enum { SWY_REWRITES_INPUT = 1, SWY_SKIP_SCALE = 2, SWY_SKIPPED_ROWS_KEEP_KV = 4, SWY_ADDS_OUTPUT = 8,
       SWY_STEADY = 16 }; /* .flags; STEADY: TRAIN calls and update read neither swy_exec.step nor .progress, and .seed
                             through the host's `random` alone */
enum { SWY_DATA_NONE, SWY_DATA_EXPERTS, SWY_DATA_UNLABELLED, SWY_DATA_FEW_SHOT, SWY_DATA_FULL }; /* data access */
enum { SWY_CAP_CPU = 1, SWY_CAP_CUDA = 2, SWY_CAP_BACKWARD = 4, SWY_CAP_CAUSAL = 8, SWY_CAP_BITWISE = 16,
       SWY_CAP_GRAPH_CAPTURE = 32, SWY_CAP_NEEDS_FIT = 64, SWY_CAP_BATCH_COUPLED = 128,
       SWY_CAP_STRAIGHT_THROUGH = 256 };                   /* backward is the gradient of a surrogate of forward */
enum { SWY_EXEC_DRY = 1,          /* swy_exec.flags: host ops count their work and touch no memory */
       SWY_EXEC_SURROGATE = 2 };  /* forward shows the surrogate that backward differentiates (STRAIGHT_THROUGH) */
enum { SWY_LOG_INFO, SWY_LOG_WARNING, SWY_LOG_ERROR };

/* ---- frozen: these travel in arrays ---------------------------------------------------------- */
typedef struct swy_tensor {
  void *data;        /* NULL = absent */
  int64_t shape[4];  /* unused trailing extents are 1 */
  int32_t rank, dtype;
} swy_tensor;
typedef struct swy_value { int64_t i; double f; const char *s; } swy_value;
typedef struct swy_option { /* one hyper-parameter; the harness parses and validates it */
  const char *name, *doc, *choices; /* choices: "a|b|c" for SWY_OPT_CHOICE, else NULL */
  int32_t type, reserved;
  double low, high; /* inclusive */
  swy_value preset;
} swy_option;
typedef struct swy_tensor_spec { /* one piece of router state; host-owned, -saved, -optimised */
  const char *name;
  int64_t shape[4];
  int32_t rank, dtype, role, init;
  float init_scale, lr_scale;
  uint32_t flags, reserved;
} swy_tensor_spec;
typedef struct swy_quantity { /* an auxiliary loss (loss += weight * value) or a metric (weight 0) */
  const char *name, *unit, *doc;
  double low, high, weight;
} swy_quantity;
typedef struct swy_field { const char *name, *type; uint32_t offset, size; } swy_field; /* "swy_exec.seed" */

/* ---- growable: struct_size first, fields only ever appended ------------------------------------ */
typedef struct swy_host { /* in: what the harness offers; outlives every instance */
  uint32_t struct_size, abi_minor;
  void *ctx;
  void (*log)(const struct swy_host *, int32_t severity, const char *message);
  const void *(*extension)(const struct swy_host *, const char *id); /* "swy.ops/1"; NULL = not offered */
} swy_host;

typedef struct swy_exec { /* in: where and how this call runs */
  uint32_t struct_size;
  int32_t device, ordinal, phase;
  void *stream;            /* cudaStream_t, or NULL on the CPU */
  void *scratch;           /* this call only, contents undefined, 256-byte aligned */
  uint64_t scratch_bytes;
  void *saved;             /* written by forward; read by backward and update of the same site and step */
  uint64_t saved_bytes;
  uint64_t seed;           /* pure function of (run seed, step, site); the same for backward */
  int64_t step;            /* optimiser steps done so far */
  char *error;             /* out: one line saying why, when status != SWY_OK */
  uint32_t error_cap, flags;
  void *ctx;               /* host's own; ops find their counters here */
  double progress;         /* share of the training budget spent before this step, in [0, 1]; for schedules */
} swy_exec;

typedef struct swy_site { /* in: one place in the model that is routed */
  uint32_t struct_size;
  int32_t site, n_sites, layer, kind;  /* site: index among the routed ones; layer: index in the model */
  int32_t d_model, n_experts;
  int32_t capacity;                    /* C of a full group */
  int32_t max_capacity;                /* largest C of any phase; sizes the ASSIGN list of expert choice */
  int32_t group_tokens;                /* tokens of a full group */
  int32_t max_tokens, max_sequences, max_groups, max_tasks;
  int32_t max_rows;                    /* rows of any kind but TOKEN */
  int32_t d_task, d_instruction;       /* widths of the embeddings, 0 = none */
  int32_t reserved;
  int32_t vocabulary;                  /* V: token ids are in [0, V); 0 = tokens have no ids (images) */
  int32_t n_clusters;                  /* planted clusters of synthetic data, 0 = none known */
  int32_t max_position, reserved2;     /* longest sequence, tokens */
} swy_site;

typedef struct swy_needs { /* out: what the router wants at that site */
  uint32_t struct_size;
  int32_t plan_kind, row_kind, aggregate;
  int32_t slots;        /* DENSE: P */
  int32_t capacity;     /* C wanted instead of the site's, 0 = the site's. The budget charges what runs. */
  int32_t mix_blocks;   /* MERGE: blocks of expert parameters with weights of their own, 0 = 1 */
  uint32_t inputs, flags;
  uint32_t n_tensors, n_aux, n_metrics;
  int64_t max_assign;   /* ASSIGN: longest list */
  uint64_t scratch_forward, scratch_backward, saved; /* bytes */
  const swy_tensor_spec *tensors; /* tables stay valid until destroy */
  const swy_quantity *aux, *metrics;
  const char *acausal_train, *acausal_score; /* why a later token can change an earlier one's result, in TRAIN and in
                                                the other phases, with these options; NULL = it cannot */
  int64_t expert_rows;  /* swy.experts/1: most rows of its one forward call, 0 = not used */
  int32_t row_tokens, reserved; /* PREFIX rows: a sequence is cut into rows of that many tokens */
} swy_needs;

typedef struct swy_cost { /* out: the router alone at full size, one call; experts are counted by the harness */
  uint32_t struct_size, reserved;
  double flops_forward, flops_backward, bytes_forward, bytes_backward;
} swy_cost;

typedef struct swy_batch { /* in: what is routed now */
  uint32_t struct_size;
  int32_t site, n_sequences, n_tasks, n_experts, n_groups, n_rows, reserved;
  swy_tensor x;                         /* [T, D] the site's input, after normalisation */
  swy_tensor residual;                  /* [T, D] the residual stream before it (SWY_IN_RESIDUAL) */
  swy_tensor task_embedding;            /* [n_tasks, d_task] (SWY_IN_TASK_EMBEDDING) */
  swy_tensor instruction;               /* [B, d_instruction] (SWY_IN_INSTRUCTION) */
  const int32_t *token_id;              /* [T] or NULL (SWY_IN_TOKEN_ID) */
  const int32_t *position;              /* [T] absolute position within its sequence */
  const uint8_t *mask;                  /* [T] 0 = padding, or NULL = no padding */
  const int32_t *sequence_begin;        /* [B + 1] token offsets */
  const int64_t *sequence_id;           /* [B] stable across calls of one sequence */
  const int32_t *sequence_task;         /* [B] or NULL (SWY_IN_TASK) */
  const int32_t *prompt_tokens;         /* [B] or NULL (SWY_IN_PROMPT) */
  const int32_t *group_begin;           /* [G + 1] token offsets; capacity holds per (group, expert) */
  const int32_t *group_capacity;        /* [G] */
  const int32_t *row_begin;             /* [R + 1] token offsets of each row. NULL: a row is a token, or a task, whose
                                           tokens are those of the sequences with sequence_task = row */
  const int32_t *cluster;               /* [T] planted cluster, in [0, n_clusters) (SWY_IN_CLUSTER) */
  const int32_t *row_previous;          /* [R] the row before it in its sequence, or -1 (PREFIX rows) */
} swy_batch;

typedef struct swy_state { /* in: the declared tensors of this site, in declared order */
  uint32_t struct_size, n_param, n_buffer, reserved;
  const swy_tensor *param, *grad, *buffer; /* grad: add, never overwrite; data NULL = not wanted */
} swy_state;

typedef struct swy_plan { /* out: the one thing a router produces; host allocates at declared size */
  uint32_t struct_size;
  int32_t kind;
  int64_t max_assign;
  int32_t *row, *expert;      /* ASSIGN [count]; list order is the priority when capacity runs out */
  float *weight;              /* ASSIGN [count] */
  int32_t *count;             /* ASSIGN [1], on the device */
  float *dispatch, *combine;  /* DENSE [T, E*P]; expert of column j is j / P; columns are per group */
  float *mix;                 /* MERGE [R, blocks * E]; may be negative, need not sum to one */
  float *expert_x;            /* [T, D] when SWY_REWRITES_INPUT */
  float *skip_scale;          /* [T] factor on the residual path of rows no expert takes (SWY_SKIP_SCALE) */
  float *aux, *metric;        /* [n_aux], [n_metrics]; one value each, already a mean over groups */
  float *output;              /* [T, D] added to the site's output when SWY_ADDS_OUTPUT */
} swy_plan;

typedef struct swy_plan_grad { /* in: dL/dplan, same shapes; NULL = no gradient */
  uint32_t struct_size, reserved;
  const float *weight, *dispatch, *combine, *mix, *expert_x, *skip_scale;
  const float *aux;           /* [n_aux] in host memory: dL/daux, the weights */
  const float *output;
} swy_plan_grad;

typedef struct swy_load { /* in, after the optimiser step: what really happened since the last one */
  uint32_t struct_size, reserved;
  const int32_t *kept, *dropped; /* [E] tokens, on swy_exec.device */
  int64_t tokens;                /* tokens routed */
} swy_load;

typedef struct swy_router { /* one per algorithm; static in the plugin */
  uint32_t struct_size, caps;
  int32_t data_access, reserved;
  const char *id, *name, *version, *paper;
  const swy_option *options;
  uint32_t n_options, reserved2;
  /* setup: may allocate, log and take time. `options` has n_options values in table order. */
  swy_status (*create)(const swy_host *, const swy_value *options, int32_t n_sites, void **self, swy_exec *);
  void (*destroy)(void *self);
  swy_status (*needs)(void *self, const swy_site *, swy_needs *, swy_exec *);
  swy_status (*cost)(void *self, const swy_site *, swy_cost *, swy_exec *);
  /* step: enqueue on swy_exec.stream. backward is present iff SWY_CAP_BACKWARD; it adds into swy_state.grad and dx:
   * dx[0] is the gradient of x, and with SWY_IN_RESIDUAL dx[1] that of residual. */
  swy_status (*forward)(void *self, swy_exec *, const swy_batch *, const swy_state *, swy_plan *);
  swy_status (*backward)(void *self, swy_exec *, const swy_batch *, const swy_state *, const swy_plan *,
                         const swy_plan_grad *, const swy_tensor *dx);
  swy_status (*update)(void *self, swy_exec *, int32_t site, const swy_state *, const swy_load *); /* or NULL */
  const void *(*extension)(void *self, const char *id); /* "swy.fit/1"; or NULL */
} swy_router;

typedef struct swy_plugin {
  uint32_t struct_size, abi_major, abi_minor, n_routers;
  const swy_field *layout;  /* the layout this plugin was compiled against (layout.h) */
  uint32_t n_layout, reserved;
  const char *build;        /* compiler and flags, free text */
  const swy_router *const *routers;
} swy_plugin;
typedef const swy_plugin *swy_plugin_v1_fn(void); /* the only exported symbol: swy_plugin_v1 */

#ifdef __cplusplus
}
#endif
#endif
