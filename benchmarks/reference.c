/* The floor: one epoch of a ReLU network with softmax and cross-entropy, in plain C, one thread.

     cc -O3 -march=native -shared -fPIC reference.c -o reference.so -lm

   peers.py calls `epoch` with the data of all the others. No library, no allocation inside the
   loop over the steps, every product by the one routine `multiply`. Arrays of a layer are filled
   up with zeros to a multiple of LANES columns, and stay zero there, so that no loop over columns
   has a remainder. Weights are kept transposed, Wᵀ (n_{k−1}, n_k): a = h Wᵀ then runs along rows.

     a_k = h_{k−1} W_kᵀ + b_k       ∇W_kᵀ = h_{k−1}ᵀ ∇a_k       ∇h_{k−1} = ∇a_k W_k
*/
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LANES = 8, ROWS = 6 }; /* a block of a product: ROWS × LANES sums in registers */

typedef float Lanes __attribute__((vector_size(LANES * sizeof(float)), aligned(4), may_alias));

typedef struct {
  int in, out, wide; /* n_{k−1}, n_k, and n_k filled up */
  float *Wt, *b;     /* (in, wide), (wide) */
  float *W;          /* (out, in filled up), for ∇h; none in the first layer */
  float *gWt, *gb;   /* ∇W_kᵀ, ∇b_k, right behind each other as Wt and b are */
  float *m, *v;      /* Adam's two averages of (Wt, b) */
  float *h, *g;      /* (batch, wide): h_k, or a_L in the last layer; and ∇a_k */
} Layer;

static int filled(int n) { return (n + LANES - 1) / LANES * LANES; }

/* One block of C = A B + start; A is read at A[r·row + k·column]. */
static inline void block(int rows, int K, const float *A, long row, long column, const float *B,
                         const float *start, float *C, long c_row) {
  Lanes sum[ROWS];
  for (int r = 0; r < rows; r++)
    sum[r] = start ? *(const Lanes *)start : (Lanes){0};
  for (int k = 0; k < K; k++)
    for (int r = 0; r < rows; r++)
      sum[r] += A[r * row + k * column] * *(const Lanes *)(B + k * LANES);
  for (int r = 0; r < rows; r++) *(Lanes *)(C + r * c_row) = sum[r];
}

/* C (M, N) = A (M, K) B (K, N) + start (N); N is a multiple of LANES, C and B have N columns.
   LANES columns of B at a time are copied side by side to `panel`, (K, LANES), unless they are. */
static void multiply(int M, int N, int K, const float *A, long row, long column, const float *B,
                     const float *start, float *C, float *panel) {
  for (int n = 0; n < N; n += LANES) {
    const float *strip = B;
    if (N > LANES) {
      for (int k = 0; k < K; k++) memcpy(panel + k * LANES, B + (long)k * N + n, sizeof(Lanes));
      strip = panel;
    }
    const float *from = start ? start + n : 0;
    int m = 0;
    for (; m + ROWS <= M; m += ROWS)
      block(ROWS, K, A + m * row, row, column, strip, from, C + (long)m * N + n, N);
    for (; m < M; m++)
      block(1, K, A + m * row, row, column, strip, from, C + (long)m * N + n, N);
  }
}

/* to (columns, to_row) = fromᵀ, from (rows, from_row), LANES × LANES at a time for the cache. */
static void transpose(int rows, int columns, const float *from, long from_row, float *to,
                      long to_row) {
  for (int i = 0; i < rows; i += LANES)
    for (int j = 0; j < columns; j += LANES)
      for (int r = i; r < i + LANES && r < rows; r++)
        for (int c = j; c < j + LANES && c < columns; c++)
          to[c * to_row + r] = from[r * from_row + c];
}

/* The mean of −log ŷ_y, and ∇a_L = (ŷ − one-hot(y))/B, from a_L. */
static float cross_entropy(int batch, const Layer *layer, const int *y) {
  float loss = 0;
  for (int i = 0; i < batch; i++) {
    const float *a = layer->h + (long)i * layer->wide;
    float *g = layer->g + (long)i * layer->wide, largest = a[0], sum = 0;
    for (int c = 1; c < layer->out; c++) largest = a[c] > largest ? a[c] : largest;
    for (int c = 0; c < layer->out; c++) sum += g[c] = expf(a[c] - largest);
    for (int c = 0; c < layer->out; c++) g[c] /= sum * batch;
    g[y[i]] -= 1.0f / batch;
    loss += logf(sum) + largest - a[y[i]];
  }
  return loss / batch;
}

static void forward(int depth, Layer *layers, int batch, const float *x, float *panel) {
  for (int k = 0; k < depth; k++) {
    Layer *p = layers + k;
    const float *h = k ? p[-1].h : x;
    multiply(batch, p->wide, p->in, h, k ? p[-1].wide : p->in, 1, p->Wt, p->b, p->h, panel);
    if (k < depth - 1)
      for (long i = 0; i < (long)batch * p->wide; i++) p->h[i] = p->h[i] > 0 ? p->h[i] : 0;
  }
}

static void backward(int depth, Layer *layers, int batch, const float *x, float *panel) {
  for (int k = depth - 1; k >= 0; k--) {
    Layer *p = layers + k;
    const float *h = k ? p[-1].h : x;
    multiply(p->in, p->wide, batch, h, 1, k ? p[-1].wide : p->in, p->g, 0, p->gWt, panel);
    memset(p->gb, 0, p->wide * sizeof(float));
    for (int i = 0; i < batch; i++)
      for (int j = 0; j < p->wide; j++) p->gb[j] += p->g[(long)i * p->wide + j];
    if (!k) continue;
    transpose(p->in, p->out, p->Wt, p->wide, p->W, p[-1].wide);
    multiply(batch, p[-1].wide, p->out, p->g, p->wide, 1, p->W, 0, p[-1].g, panel);
    for (long i = 0; i < (long)batch * p[-1].wide; i++) p[-1].g[i] = h[i] > 0 ? p[-1].g[i] : 0;
  }
}

/* θ ← θ − η ∇θ, or Adam's step number t with β = (0.9, 0.999), ε = 1e-8. */
static void update(Layer *p, float rate, int adam, int t) {
  long n = (long)(p->in + 1) * p->wide;
  float *theta = p->Wt, *g = p->gWt, *m = p->m, *v = p->v;
  if (!adam) {
    for (long i = 0; i < n; i++) theta[i] -= rate * g[i];
    return;
  }
  float m_share = 1 / (1 - powf(0.9f, t)), v_share = 1 / (1 - powf(0.999f, t));
  for (long i = 0; i < n; i++) {
    m[i] = 0.9f * m[i] + 0.1f * g[i];
    v[i] = 0.999f * v[i] + 0.001f * g[i] * g[i];
    theta[i] -= rate * m[i] * m_share / (sqrtf(v[i] * v_share) + 1e-8f);
  }
}

/* Gives out the memory of a layer from `next`; with `next` 0 it only counts, in floats. */
static long place(Layer *p, int batch, int first, float *next) {
  long weights = (long)(p->in + 1) * p->wide; /* of Wt and b together */
  long back = first ? 0 : (long)p->out * filled(p->in), rows = (long)batch * p->wide;
  if (next) {
    p->Wt = next;
    p->gWt = p->Wt + weights;
    p->m = p->gWt + weights;
    p->v = p->m + weights;
    p->W = p->v + weights;
    p->h = p->W + back;
    p->g = p->h + rows;
    p->b = p->Wt + weights - p->wide;
    p->gb = p->gWt + weights - p->wide;
  }
  return 4 * weights + back + 2 * rows;
}

/* All layers in one piece of memory filled with 0; what is left of it is the panel. */
static float *allocate(int depth, const int *sizes, int batch, Layer *layers, float **panel) {
  long floats = 0, longest = batch > sizes[0] ? batch : sizes[0];
  for (int k = 0; k < depth; k++) {
    layers[k] = (Layer){.in = sizes[k], .out = sizes[k + 1], .wide = filled(sizes[k + 1])};
    floats += place(layers + k, batch, !k, 0);
    longest = sizes[k + 1] > longest ? sizes[k + 1] : longest;
  }
  float *memory = calloc(floats + longest * LANES, sizeof(float)), *next = memory;
  if (!memory) return 0;
  for (int k = 0; k < depth; k++) next += place(layers + k, batch, !k, next);
  *panel = next;
  return memory;
}

/* params: W_1 (n_1, n_0), b_1, W_2, … one behind the other, in and out. x: (steps·batch, n_0),
   y: (steps·batch), losses: (steps), out. Returns 0, or 1 where there is no memory. */
int epoch(int depth, const int *sizes, int batch, int steps, float rate, int adam, float *params,
          const float *x, const int *y, float *losses) {
  Layer layers[depth];
  float *panel, *memory = allocate(depth, sizes, batch, layers, &panel), *W = params;
  if (!memory) return 1;
  for (Layer *p = layers; p < layers + depth; p++) {
    float *b = W + (long)p->out * p->in;
    transpose(p->out, p->in, W, p->in, p->Wt, p->wide);
    memcpy(p->b, b, p->out * sizeof(float));
    W = b + p->out;
  }
  for (int t = 0; t < steps; t++) {
    const float *x_t = x + (long)t * batch * sizes[0];
    forward(depth, layers, batch, x_t, panel);
    losses[t] = cross_entropy(batch, layers + depth - 1, y + (long)t * batch);
    backward(depth, layers, batch, x_t, panel);
    for (int k = 0; k < depth; k++) update(layers + k, rate, adam, t + 1);
  }
  W = params;
  for (Layer *p = layers; p < layers + depth; p++) {
    float *b = W + (long)p->out * p->in;
    transpose(p->in, p->out, p->Wt, p->wide, W, p->in);
    memcpy(b, p->b, p->out * sizeof(float));
    W = b + p->out;
  }
  free(memory);
  return 0;
}
