// Convolutions by the oneDNN that MindSpore brings, in the memory layouts that oneDNN prefers, and
// batch norm with the activation behind it. The functions at the end have the interface of
// MindSpore's ops.Custom ("aot"): pointers, shapes and types of the inputs, then of the outputs; 0,
// or what went wrong, which MindSpore raises as an error. All tensors are float32, images NCHW.

#include <sched.h>
#include <signal.h>

#include <atomic>
#include <cmath>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

// The part of oneDNN's C interface that is used here.
extern "C" {
using Handle = void *;
struct Argument {
  int kind;
  Handle memory;
};
int dnnl_engine_create(Handle *, int kind, size_t index);
int dnnl_threadpool_interop_stream_create(Handle *, Handle engine, void *pool);
int dnnl_stream_wait(Handle stream);
int dnnl_threadpool_interop_get_max_concurrency(int *);
int dnnl_threadpool_interop_set_max_concurrency(int);
int dnnl_memory_desc_create_with_tag(Handle *, int ndims, const int64_t *dims, int type, int tag);
size_t dnnl_memory_desc_get_size(Handle);
int dnnl_memory_desc_equal(Handle, Handle);
int dnnl_memory_create(Handle *, Handle desc, Handle engine, void *data);
int dnnl_memory_set_data_handle(Handle, void *data);
int dnnl_convolution_forward_primitive_desc_create(
    Handle *, Handle engine, int prop, int algorithm, Handle src, Handle weights, Handle bias,
    Handle dst, const int64_t *strides, const int64_t *dilates, const int64_t *left,
    const int64_t *right, Handle attributes);
int dnnl_convolution_backward_data_primitive_desc_create(
    Handle *, Handle engine, int algorithm, Handle diff_src, Handle weights, Handle diff_dst,
    const int64_t *strides, const int64_t *dilates, const int64_t *left, const int64_t *right,
    Handle hint, Handle attributes);
int dnnl_convolution_backward_weights_primitive_desc_create(
    Handle *, Handle engine, int algorithm, Handle src, Handle diff_weights, Handle diff_bias,
    Handle diff_dst, const int64_t *strides, const int64_t *dilates, const int64_t *left,
    const int64_t *right, Handle hint, Handle attributes);
int dnnl_reorder_primitive_desc_create(Handle *, Handle from, Handle from_engine, Handle to,
                                       Handle to_engine, Handle attributes);
Handle dnnl_primitive_desc_query_md(Handle, int what, int index);
int dnnl_primitive_create(Handle *, Handle desc);
int dnnl_primitive_execute(Handle, Handle stream, int count, const Argument *);
}

namespace {

enum { kCpu = 1, kFloat32 = 3, kAnyLayout = 1, kPlain = 5, kForwardTraining = 64, kDirect = 1 };
enum { kSrc = 1, kDst = 17, kWeights = 33, kDiff = 128 };  // arguments; kDiff + …: its gradient
enum { kQuerySrc = 129, kQueryWeights = 131, kQueryDst = 133 };  // + 1: its gradient

struct Failed {
  const char *what;
};

void require(bool is_so, const char *what) {
  if (!is_so) throw Failed{what};
}

void check(int status) { require(status == 0, "oneDNN cannot do it"); }

// oneDNN is told of so many threads, however many there are, so that the parts that it makes of its
// work, and with them the order of sums, are the same on every machine.
constexpr int kParts = 16;

// It asks this, and not the pool, while a primitive is made: by default for the cores of the thread.
class Concurrency {
  int before_ = 0;

 public:
  Concurrency() {
    check(dnnl_threadpool_interop_get_max_concurrency(&before_));
    check(dnnl_threadpool_interop_set_max_concurrency(kParts));
  }
  ~Concurrency() { dnnl_threadpool_interop_set_max_concurrency(before_); }
};

// Shares work out among threads.
// The order of the virtual functions is that of dnnl::threadpool_interop::threadpool_iface.
class Pool {
  static thread_local bool is_inside_;
  std::mutex mutex_;
  std::condition_variable begin_, end_;
  const std::function<void(int, int)> *run_ = nullptr;
  std::atomic<int> next_{0};
  int count_ = 0, num_workers_ = 0, busy_ = 0;
  int64_t turn_ = 0;

  void work(const std::function<void(int, int)> &run, int count) {
    is_inside_ = true;
    for (int i; (i = next_++) < count;) run(i, count);
    is_inside_ = false;
  }

  void serve() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (int64_t seen = 0;;) {
      begin_.wait(lock, [&] { return run_ && turn_ != seen; });
      seen = turn_, ++busy_;
      auto &run = *run_;
      int count = count_;
      lock.unlock();
      work(run, count);
      lock.lock();
      if (!--busy_) end_.notify_one();
    }
  }

 public:
  Pool() {
    cpu_set_t own;
    num_workers_ = sched_getaffinity(0, sizeof own, &own) ? 0 : CPU_COUNT(&own) - 1;
    sigset_t all, before;  // signals are the main thread's
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (int i = 0; i < num_workers_; ++i) std::thread(&Pool::serve, this).detach();
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }
  virtual int get_num_threads() const { return kParts; }
  virtual bool get_in_parallel() const { return is_inside_; }
  virtual void parallel_for(int count, const std::function<void(int, int)> &run) {
    if (is_inside_ || count == 1 || !num_workers_) {
      for (int i = 0; i < count; ++i) run(i, count);
      return;
    }
    {
      std::lock_guard<std::mutex> lock(mutex_);
      run_ = &run, count_ = count, next_ = 0, ++turn_;
    }
    begin_.notify_all();
    work(run, count);
    std::unique_lock<std::mutex> lock(mutex_);
    run_ = nullptr;  // who wakes up now is not waited for
    end_.wait(lock, [&] { return !busy_; });
  }
  virtual uint64_t get_flags() const { return 0; }
  virtual void wait() {}
  virtual ~Pool() {}
};
thread_local bool Pool::is_inside_ = false;

Pool &pool() {
  static Pool *pool = new Pool;  // never destroyed: its threads wait until the process ends
  return *pool;
}

Handle engine() {
  static Handle engine = [] {
    Handle made;
    check(dnnl_engine_create(&made, kCpu, 0));
    return made;
  }();
  return engine;
}

Handle stream() {
  static Handle stream = [] {
    Handle made;
    check(dnnl_threadpool_interop_stream_create(&made, engine(), &pool()));
    return made;
  }();
  return stream;
}

void execute(Handle primitive, const std::vector<Argument> &arguments) {
  check(dnnl_primitive_execute(primitive, stream(), arguments.size(), arguments.data()));
  check(dnnl_stream_wait(stream()));
}

using Dims = std::vector<int64_t>;

Handle describe(const Dims &dims, int tag) {
  Handle desc;
  check(dnnl_memory_desc_create_with_tag(&desc, dims.size(), dims.data(), kFloat32, tag));
  return desc;
}

Handle memory(Handle desc) {
  Handle made;
  check(dnnl_memory_create(&made, desc, engine(), nullptr));
  return made;
}

Handle primitive(Handle desc) {
  Handle made;
  check(dnnl_primitive_create(&made, desc));
  return made;
}

// Buffers that all convolutions share: one runs at a time.
void *scratch(int number, size_t size) {
  static void *buffers[3];
  static size_t sizes[3];
  if (sizes[number] < size) {
    free(buffers[number]);
    sizes[number] = 0;
    buffers[number] = aligned_alloc(64, (size + 4095) / 4096 * 4096);
    require(buffers[number], "out of memory");
    sizes[number] = size;
  }
  return buffers[number];
}

// One tensor of a convolution: NCHW outside, inside in the layout that the convolution wants.
struct Operand {
  int kind;
  bool is_output, is_plain;
  size_t size;
  Handle wanted, outer, inner, reorder = nullptr;

  Operand(int kind, bool is_output, const Dims &dims, Handle wanted)
      : kind(kind), is_output(is_output), wanted(wanted) {
    Handle plain = describe(dims, kPlain);
    is_plain = dnnl_memory_desc_equal(plain, wanted);
    size = dnnl_memory_desc_get_size(wanted);
    outer = memory(plain);
    inner = is_plain ? outer : memory(wanted);
    if (is_plain) return;
    Handle desc, from = is_output ? wanted : plain, to = is_output ? plain : wanted;
    check(dnnl_reorder_primitive_desc_create(&desc, from, engine(), to, engine(), nullptr));
    reorder = primitive(desc);
  }

  void convert() {
    if (is_plain) return;
    execute(reorder, {{kSrc, is_output ? inner : outer}, {kDst, is_output ? outer : inner}});
  }
};

struct Convolution {
  Handle kernel;
  std::vector<Operand> operands;  // the output last

  // `before` has just run with the same first operand.
  void run(const std::vector<void *> &data, const Convolution *before = nullptr) {
    std::vector<Argument> arguments;
    for (size_t i = 0; i < operands.size(); ++i) {
      Operand &o = operands[i];
      check(dnnl_memory_set_data_handle(o.outer, data[i]));
      if (!o.is_plain) check(dnnl_memory_set_data_handle(o.inner, scratch(i, o.size)));
      bool is_there = before && !i && dnnl_memory_desc_equal(before->operands[0].wanted, o.wanted);
      if (!o.is_output && !is_there) o.convert();
      arguments.push_back({o.kind, o.inner});
    }
    execute(kernel, arguments);
    operands.back().convert();
  }
};

enum Pass { kForward, kInputGradient, kWeightGradient };

// The stride by which (side − 1) / stride + 1 is the output's side. Side 1 takes either.
int64_t stride_between(const Dims &x, const Dims &y) {
  int64_t stride = x[2] == y[2] && x[3] == y[3] ? 1 : 2;
  for (int i : {2, 3}) require((x[i] - 1) / stride + 1 == y[i], "stride or padding");
  return stride;
}

Convolution create(Pass pass, const Dims &x, const Dims &w, const Dims &y) {
  require(x[0] == y[0] && x[1] == w[1] && y[1] == w[0], "channels, groups or batch");
  require(w[2] == w[3] && w[2] % 2, "a kernel that is not square and odd");
  Concurrency concurrency;
  int64_t stride = stride_between(x, y), pad = w[2] / 2;
  int64_t strides[] = {stride, stride}, dilates[] = {0, 0}, left[] = {pad, pad}, right[2];
  for (int i : {0, 1}) right[i] = (y[i + 2] - 1) * stride + w[2] - x[i + 2] - pad;
  Handle src = describe(x, kAnyLayout), weights = describe(w, kAnyLayout);
  Handle dst = describe(y, kAnyLayout), forward, desc;
  check(dnnl_convolution_forward_primitive_desc_create(&forward, engine(), kForwardTraining,
                                                       kDirect, src, weights, nullptr, dst, strides,
                                                       dilates, left, right, nullptr));
  desc = forward;
  if (pass == kInputGradient) {
    check(dnnl_convolution_backward_data_primitive_desc_create(
        &desc, engine(), kDirect, src, weights, dst, strides, dilates, left, right, forward, nullptr));
  } else if (pass == kWeightGradient) {
    check(dnnl_convolution_backward_weights_primitive_desc_create(
        &desc, engine(), kDirect, src, weights, nullptr, dst, strides, dilates, left, right, forward,
        nullptr));
  }
  auto input = [&](int kind, int query, const Dims &dims) {
    return Operand(kind, false, dims, dnnl_primitive_desc_query_md(desc, query, 0));
  };
  auto output = [&](int kind, int query, const Dims &dims) {
    return Operand(kind, true, dims, dnnl_primitive_desc_query_md(desc, query, 0));
  };
  if (pass == kForward)
    return {primitive(desc),
            {input(kSrc, kQuerySrc, x), input(kWeights, kQueryWeights, w), output(kDst, kQueryDst, y)}};
  Operand dy = input(kDiff + kDst, kQueryDst + 1, y);
  if (pass == kInputGradient)
    return {primitive(desc),
            {dy, input(kWeights, kQueryWeights, w), output(kDiff + kSrc, kQuerySrc + 1, x)}};
  return {primitive(desc),
          {dy, input(kSrc, kQuerySrc, x), output(kDiff + kWeights, kQueryWeights + 1, w)}};
}

Convolution &convolution(Pass pass, const Dims &x, const Dims &w, const Dims &y) {
  static std::map<std::vector<Dims>, Convolution> made;
  std::vector<Dims> key{{pass}, x, w, y};
  auto found = made.find(key);
  if (found == made.end()) found = made.emplace(key, create(pass, x, w, y)).first;
  return found->second;
}

// The tensors of a call, as MindSpore gives them.
struct Tensors {
  std::vector<void *> data;
  std::vector<Dims> shapes;

  Tensors(int expected, int count, void **pointers, int *ndims, int64_t **dims, const char **types) {
    require(count == expected, "the number of tensors");
    for (int i = 0; i < count; ++i) {
      require(!strcmp(types[i], "float32"), "a type other than float32");
      data.push_back(pointers[i]);
      shapes.emplace_back(dims[i], dims[i] + ndims[i]);
    }
  }

  const Dims &image(int i) const {
    require(shapes[i].size() == 4, "a tensor that has not four dimensions");
    for (int64_t side : shapes[i]) require(side > 0, "an empty tensor");
    return shapes[i];
  }
};

std::mutex mutex;

template <typename Work>
int guarded(const char *name, const Work &work) {
  std::lock_guard<std::mutex> lock(mutex);
  try {
    work();
    return 0;
  } catch (const Failed &failed) {
    fprintf(stderr, "%s of --cpu_kernels onednn: unsupported: %s\n", name, failed.what);
  } catch (const std::exception &error) {
    fprintf(stderr, "%s of --cpu_kernels onednn: %s\n", name, error.what());
  }
  return 1;
}

}  // namespace

#define OPERATOR(name, number, ...)                                                            \
  extern "C" int name(int count, void **pointers, int *ndims, int64_t **dims,                  \
                      const char **types, void *, void *) {                                    \
    return guarded(#name, [&] {                                                                \
      Tensors t(number, count, pointers, ndims, dims, types);                                  \
      __VA_ARGS__                                                                              \
    });                                                                                        \
  }

// x, w → y
OPERATOR(convolution_forward, 3, {
  convolution(kForward, t.image(0), t.image(1), t.image(2)).run(t.data);
})

// dy, w, x → dx
OPERATOR(convolution_input_gradient, 4, {
  convolution(kInputGradient, t.image(2), t.image(1), t.image(0)).run({t.data[0], t.data[1], t.data[3]});
})

// dy, w, x → dw
OPERATOR(convolution_weight_gradient, 4, {
  convolution(kWeightGradient, t.image(2), t.image(1), t.image(0)).run({t.data[0], t.data[2], t.data[3]});
})

// dy, w, x → dx, dw
OPERATOR(convolution_gradients, 5, {
  Convolution &input = convolution(kInputGradient, t.image(2), t.image(1), t.image(0));
  Convolution &weight = convolution(kWeightGradient, t.image(2), t.image(1), t.image(0));
  input.run({t.data[0], t.data[1], t.data[3]});
  weight.run({t.data[0], t.data[2], t.data[4]}, &input);
})

namespace {

// One channel of an image batch: `count` rows of `side` values, `step` apart.
struct Rows {
  int64_t count, side, step;

  explicit Rows(const Dims &x) : count(x[0]), side(x[2] * x[3]), step(x[1] * side) {}

  // Σ of a function over all values, which come by their positions. Sums run side by side in
  // float32 along a row, and rows add up in float64.
  template <typename Function>
  double sum(const Function &function) const {
    double total = 0;
    for (int64_t row = 0; row < count; ++row) {
      float lanes[32] = {}, rest = 0;
      int64_t at = row * step, end = at + side;
      for (; at + 32 <= end; at += 32)
        for (int i = 0; i < 32; ++i) lanes[i] += function(at + i);
      for (; at < end; ++at) rest += function(at);
      for (float lane : lanes) rest += lane;
      total += rest;
    }
    return total;
  }

  template <typename Function>
  void each(const Function &function) const {
    for (int64_t row = 0; row < count; ++row)
      for (int64_t at = row * step, end = at + side; at < end; ++at) function(at);
  }
};

// Batch norm, then max(v, slope · v): slope 1 is no activation, 0 is ReLU.
struct Norm {
  float mean, scale, shift, slope;

  float normed(float x) const { return (x - mean) * scale + shift; }
  float active(float x) const {
    float v = normed(x);
    return v > 0 ? v : slope * v;
  }
  float derivative(float x) const { return normed(x) > 0 ? 1 : slope; }
};

}  // namespace

// x, γ, β, running mean and variance, (ε, slope, momentum) → y, mean, 1 / √(variance + ε), and the
// running mean and variance from now on
OPERATOR(norm_forward, 11, {
  Rows rows(t.image(0));
  auto d = reinterpret_cast<float *const *>(t.data.data());
  pool().parallel_for(t.shapes[0][1], [&](int c, int) {
    const float *x = d[0] + c * rows.side, *how = d[5];
    float *y = d[6] + c * rows.side;
    double size = static_cast<double>(rows.count) * rows.side;
    float mean = rows.sum([=](int64_t i) { return x[i]; }) / size;
    double variance = rows.sum([=](int64_t i) { return (x[i] - mean) * (x[i] - mean); }) / size;
    float inverse = 1 / std::sqrt(variance + how[0]);
    Norm norm{mean, d[1][c] * inverse, d[2][c], how[1]};
    rows.each([=](int64_t i) { y[i] = norm.active(x[i]); });
    d[7][c] = mean, d[8][c] = inverse;
    double unbiased = size > 1 ? variance * size / (size - 1) : variance;
    d[9][c] = d[3][c] + how[2] * (mean - d[3][c]);
    d[10][c] = d[4][c] + how[2] * (unbiased - d[4][c]);
  });
})

// dy, x, γ, β, mean, 1 / √(variance + ε), (ε, slope, momentum) → dx, dγ, dβ
OPERATOR(norm_gradients, 10, {
  Rows rows(t.image(1));
  auto d = reinterpret_cast<float *const *>(t.data.data());
  pool().parallel_for(t.shapes[1][1], [&](int c, int) {
    const float *dy = d[0] + c * rows.side, *x = d[1] + c * rows.side;
    float *dx = d[7] + c * rows.side, mean = d[4][c], inverse = d[5][c];
    Norm norm{mean, d[2][c] * inverse, d[3][c], d[6][1]};
    double size = static_cast<double>(rows.count) * rows.side;
    double total = rows.sum([=](int64_t i) { return norm.derivative(x[i]) * dy[i]; });
    double total_x = rows.sum([=](int64_t i) { return norm.derivative(x[i]) * dy[i] * (x[i] - mean); });
    d[8][c] = total_x * inverse, d[9][c] = total;
    float a = total / size, b = total_x * inverse * inverse / size;
    rows.each([=](int64_t i) {
      dx[i] = norm.scale * (norm.derivative(x[i]) * dy[i] - a - (x[i] - mean) * b);
    });
  });
})

// x, γ, β, running mean and variance, (ε, slope, momentum) → y
OPERATOR(norm_evaluation, 7, {
  Rows rows(t.image(0));
  auto d = reinterpret_cast<float *const *>(t.data.data());
  pool().parallel_for(t.shapes[0][1], [&](int c, int) {
    const float *x = d[0] + c * rows.side, *how = d[5];
    float *y = d[6] + c * rows.side;
    Norm norm{d[3][c], d[1][c] / std::sqrt(d[4][c] + how[0]), d[2][c], how[1]};
    rows.each([=](int64_t i) { y[i] = norm.active(x[i]); });
  });
})
