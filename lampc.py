import numpy as np, time, cProfile, pstats
from types import SimpleNamespace as N
from prunable.nets.prune.strategies import sharing as S
r=np.random.default_rng(0)
parts=[r.normal(size=(16,s//16)).astype(np.float32) for s in [432]+[2304]*6+[4608]+[9216]*5+[18432]+[36864]*5+[640]]
def cpu(f,n=3):
    f(); t=time.process_time()
    for _ in range(n): f()
    return (time.process_time()-t)/n*1e3
lv=[S.Levels.counted(p) for p in parts]
print("levels",cpu(lambda:[S.Levels.counted(p) for p in parts]),"counts",cpu(lambda:S.lamp_counts(lv,50000)))
