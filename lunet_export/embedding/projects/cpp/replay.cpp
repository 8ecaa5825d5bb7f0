// replay FOLDER [cpu|cuda [LIBRARY]]: check an exported folder, sample, score. LIBRARY is ONNX Runtime's.
// Exit codes: 0 good, 1 a vector is outside its tolerance, 2 bad file or argument, 3 the runtime is missing, too old or
// cannot do it, 4 the operating system.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <new>

#include "flow.hpp"

using namespace lunet_flow;

namespace {

constexpr int samples = 100, turns = 20, calls = 10;
int checks = 0, wrong = 0;

// Numbers of vectors.json: `wide` in each of `rows`.
std::vector<double> vectors(const Flow& flow, const std::string& place, std::size_t rows, std::size_t wide) {
    const auto found = flow.read("vectors.json", place);
    if (rows == 0 || found.size() != rows * wide)
        throw Failure(2, "Expected " + std::to_string(rows) + " rows of " + std::to_string(wide) + " numbers in " +
                             place + " of vectors.json; got " + std::to_string(found.size()) +
                             " in all. Export again.");
    if (!std::all_of(found.begin(), found.end(), [](double number) { return std::isfinite(number); }))
        throw Failure(2, "Expected finite numbers in " + place + " of vectors.json; got others. Export again.");
    return found;
}

void compare(const char* name, const std::vector<double>& expected, const std::vector<double>& got,
             const std::vector<double>& tolerance, const std::vector<double>& skipped = {}) {
    const std::size_t wide = expected.size() / tolerance.size();
    double ratio = 0, difference = 0;
    std::size_t worst = 0;
    for (std::size_t i = 0; i < expected.size() && !std::isnan(ratio); ++i) {  // NaN is a failure
        const double gap = std::abs(expected[i] - got.at(i)), share = gap / tolerance[i / wide];
        if ((!skipped.empty() && skipped[i / wide] != 0) || share <= ratio) continue;
        ratio = share;
        worst = i / wide;
        difference = gap;
    }
    std::printf("vectors %s: %#.6g of the tolerance", name, ratio);
    if (!(ratio <= 1))
        std::printf("; FAILED: row %zu is off by %#.6g, tolerance %#.6g", worst, difference, tolerance[worst]);
    std::printf("\n");
    ++checks;
    wrong += !(ratio <= 1);
}

// Replay the test vectors; return the first context of them, for all samples and calls, empty for a flow that takes none.
std::vector<double> replay(const Flow& flow) {
    const std::size_t rows = flow.read("vectors.json", "density/log_prob").size(),
                      many = flow.read("vectors.json", "sampling/log_prob").size();
    const auto density = [&](const char* place, std::size_t wide) {
        return vectors(flow, std::string("density/") + place, rows, wide);
    };
    const auto sampling = [&](const char* place, std::size_t wide) {
        return vectors(flow, std::string("sampling/") + place, many, wide);
    };
    const auto x = density("x", flow.dim()), drawn_z = sampling("z", flow.dim()), clamped = sampling("clamped", 1);
    const std::size_t wide = flow.context_dim();
    const auto context = wide ? density("context", wide) : std::vector<double>();
    const auto drawn_context = wide ? sampling("context", wide) : std::vector<double>();
    const auto [log_prob, z] = flow.density(x, context);
    const auto drawn_x = flow.decode(drawn_z, drawn_context);
    const auto [again_log_prob, again_z] = flow.density(drawn_x, drawn_context);
    auto round_trip = density("tolerance/x", 1);
    const auto predicted = flow.read("manifest.json", "certificate/rows/round_trip");
    for (std::size_t row = 0; row < std::min(rows, predicted.size()); ++row)
        round_trip[row] = std::min(round_trip[row], 2 * predicted[row]);
    compare("density z", density("z", flow.dim()), z, density("tolerance/z", 1));
    compare("density log_prob", density("log_prob", 1), log_prob, density("tolerance/log_prob", 1));
    compare("sampling x", sampling("x", flow.dim()), drawn_x, sampling("tolerance/x", 1));
    compare("x -> z -> x", x, flow.decode(z, context), round_trip);
    compare("z -> x -> z", drawn_z, again_z, sampling("tolerance/z", 1), clamped);
    compare("log_prob of sampled x", sampling("log_prob", 1), again_log_prob, sampling("tolerance/log_prob", 1),
            clamped);
    return {context.begin(), context.begin() + std::ptrdiff_t(wide)};
}

void noise(std::uint64_t seed, std::uint64_t row) {
    const Words w = words(seed, row, 0);
    double n[4];
    normal(seed, row, n);
    std::printf("noise seed %llu, row %llu: %08x %08x %08x %08x; %.9f %.9f %.9f %.9f\n",
                static_cast<unsigned long long>(seed), static_cast<unsigned long long>(row), w[0], w[1], w[2], w[3],
                n[0], n[1], n[2], n[3]);
}

void sample(const Flow& flow, const std::vector<double>& context) {
    const auto x = flow.sample(7, samples, 0, 1, context);
    const auto log_prob = flow.density(x, context).first;
    double sum = 0;
    for (double one : log_prob) sum += one;
    std::printf("sample seed 7, row 0:");
    for (std::size_t i = 0; i < std::min<std::size_t>(flow.dim(), 4); ++i) std::printf(" %#.6g", x[i]);
    std::printf("; %#.6g nats, %#.6g bits/dim\n", log_prob[0], -log_prob[0] / (double(flow.dim()) * std::log(2.0)));
    std::printf("sample seed 7, %d rows: mean log_prob %#.6g nats\n", samples, sum / samples);
}

// Milliseconds per call: the median over turns of several calls, as a browser's clock is coarse; two turns warm up.
template <class Call>
double median(Call call) {
    std::vector<double> times;
    for (int turn = -2; turn < turns; ++turn) {
        const auto begin = std::chrono::steady_clock::now();
        for (int i = 0; i < calls; ++i) call();
        const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begin;
        if (turn >= 0) times.push_back(took.count() / calls);
    }
    std::sort(times.begin(), times.end());
    return times[turns / 2];
}

}  // namespace

int main(int argc, char** argv) try {
    if (argc < 2) throw Failure(2, "Usage: replay FOLDER [cpu|cuda [LIBRARY]]");
    const std::string provider = argc > 2 ? argv[2] : "cpu";
    const Flow flow(argv[1], provider, argc > 3 ? argv[3] : "", 1);
    std::printf("model %s: %s, %zu dimensions, %s", flow.name().c_str(), flow.kind().c_str(), flow.dim(),
                flow.dtype().c_str());
    if (flow.context_dim()) std::printf(", context of %zu numbers", flow.context_dim());
    std::printf("\n");
    std::printf("runtime ONNX Runtime %s, %s\n", flow.version().c_str(), provider.c_str());
    const auto context = replay(flow);
    noise(7, 0);
    noise(7, 4294967301);
    noise(UINT64_MAX, 1);
    sample(flow, context);
    const auto x = flow.sample(7, 1, 0, 1, context);
    std::vector<double> z(flow.dim());
    normal(7, 0, z);
    std::printf("latency density %.3f ms, ", median([&] { flow.density(x, context); }));
    std::printf("sampling %.3f ms: medians of %d turns of %d calls, batch 1\n",
                median([&] { flow.decode(z, context); }), turns, calls);
    if (wrong)
        std::printf("%d of %d vectors are outside their tolerance\n", wrong, checks);
    else
        std::printf("all %d vectors are within their tolerance\n", checks);
    if (std::fflush(stdout) || std::ferror(stdout)) throw Failure(4, "Expected to print; the system refuses.");
    return wrong > 0;
} catch (const Failure& failure) {
    std::fprintf(stderr, "%s\n", failure.what());
    return failure.code;
} catch (const std::bad_alloc&) {
    std::fprintf(stderr, "Expected memory; the system has none left.\n");
    return 4;
}
